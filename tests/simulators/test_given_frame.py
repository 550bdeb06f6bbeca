"""Simulators show what the tokenizer's decoder takes over from the given frame, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.evaluate.subjects import imagine_clips
from roboscape.rollout.videos import Videos, decode_videos
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart
from roboscape.tokenizer.model import Tokenizer

CAMERA = "front"


@pytest.fixture(params=[False, True], ids=["tokens", "beliefs"])
def bundle(tiny_bundle, request):
    torch.manual_seed(0)
    config = replace(tiny_bundle.tokenizer.config, given_frame=True, soft_codes=request.param)
    return replace(tiny_bundle, tokenizer=Tokenizer(config).eval())


def test_steps_show_what_decoding_the_whole_clip_with_its_given_frame_shows(bundle, lift_dataset):
    starts = [EpisodeStart(dataset=lift_dataset, episode=i, row=3) for i in range(2)]
    stride = bundle.controls.stride
    actions = np.stack([lift_dataset.actions(i)[3 : 3 + 3 * stride] for i in range(2)])
    simulator = LearnedSimulator(bundle, batch=2, cameras=(CAMERA,))
    first = simulator.reset(starts)
    given = Videos(rgb=first.rgb[CAMERA][:, None], depth_m=first.depth_m[CAMERA][:, None])
    snapshot = simulator.snapshot()
    seen = [simulator.step(actions[:, t * stride : (t + 1) * stride]) for t in range(3)]
    simulator.restore(snapshot)
    whole = decode_videos(bundle.tokenizer, imagine_clips(simulator, actions), given)
    blind = decode_videos(bundle.tokenizer, imagine_clips(reset(simulator, starts), actions))
    for t, frame in enumerate(seen, start=1):
        assert np.abs(frame.rgb[CAMERA].astype(int) - whole.rgb[:, t]).max() <= 1
        np.testing.assert_allclose(frame.depth_m[CAMERA], whole.depth_m[:, t], rtol=1e-3)
    assert not np.array_equal(whole.rgb, blind.rgb), "the given frame shows"
    # A fork of world 1 in the place of world 0 takes its given frame along.
    simulator.restore(snapshot, index=np.array([1, 1]))
    twins = simulator.step(actions[[1, 1], :stride]).rgb[CAMERA]
    np.testing.assert_array_equal(twins[0], twins[1])
    assert np.abs(twins[0].astype(int) - seen[0].rgb[CAMERA][1]).max() <= 1


def reset(simulator, starts):
    simulator.reset(starts)
    return simulator
