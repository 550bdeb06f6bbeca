"""Scores of plausibility: what each must say of proper and of broken episodes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.dataset.frame_actions import frame_episode
from roboscape.rollout.imagine import Imagination
from roboscape.rollout.sampling import Sampling
from roboscape.rollout.videos import VideoCodes, Videos, encode_videos
from roboscape.synthesis.breaking import BREAKING, other_actions, other_depth, teleported
from roboscape.synthesis.plausibility import (
    SCORES,
    Plausibility,
    Thresholds,
    depth_mismatch,
    lost_tracks,
    plausibility,
    range_excess,
    read_tokens,
)
from roboscape.synthesis.reach import ArmRange

STRIDE = 2


@pytest.fixture
def episodes(lift_dataset):
    return [frame_episode(lift_dataset, number, stride=STRIDE) for number in range(3)]


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_reading_a_rollout_again_finds_the_confidence_that_it_was_made_with(
    tiny_bundle, lift_dataset, temperature
):
    found = [frame_episode(lift_dataset, number, stride=STRIDE) for number in (0, 1)]
    given = Videos(
        rgb=np.stack([one.rgb["front"][:1] for one in found]),
        depth_m=np.stack([one.depth_m["front"][:1] for one in found]),
    )
    prompt = encode_videos(tiny_bundle.tokenizer, given)
    controls = tiny_bundle.controls.encode(
        np.stack([one.actions[:6].reshape(-1, 3) for one in found]),
        np.stack([one.state[0] for one in found]),
    )
    engine = Imagination(
        tiny_bundle.world_model, batch=2, sampling=Sampling(temperature=temperature)
    )
    engine.reset(rgb=prompt.rgb, depth=prompt.depth, controls=controls[:, :1])
    frames = [engine.step(control) for control in controls[:, 1:].unbind(dim=1)]
    codes = VideoCodes(
        rgb=torch.cat([prompt.rgb, torch.stack([f.rgb_codes for f in frames], 1)], 1),
        depth=torch.cat([prompt.depth, torch.stack([f.depth_codes for f in frames], 1)], 1),
    )
    read = read_tokens(tiny_bundle.world_model, codes, controls=controls)
    expected = torch.stack([-frame.confidence.log().mean(dim=-1) for frame in frames], dim=1)
    assert read.surprise.shape == (2, 2, 6)
    np.testing.assert_allclose(read.surprise[0], expected.numpy(), rtol=1e-4)
    # What is drawn from a prediction is, on the whole, as surprising as the prediction is unsure.
    if temperature == 0:
        assert (read.surprise[0] <= read.entropy + 1e-5).all()


def test_every_breakage_leaves_the_first_frame_and_changes_something(episodes):
    one = episodes[1]
    for name, damage in BREAKING.items():
        broken = damage(episodes)[1]
        np.testing.assert_array_equal(broken.rgb["front"][0], one.rgb["front"][0])
        np.testing.assert_array_equal(broken.depth_m["front"][0], one.depth_m["front"][0])
        changed = [
            not np.array_equal(before, after)
            for before, after in (
                (one.rgb["front"], broken.rgb["front"]),
                (one.depth_m["front"], broken.depth_m["front"]),
                (one.actions, broken.actions),
                (one.state, broken.state),
            )
        ]
        assert any(changed), name


def test_scores_are_one_an_episode_and_depend_on_it_alone(tiny_bundle, episodes):
    ask = {"state_range": None, "cameras": ("front",)}
    together = plausibility(tiny_bundle, episodes, **ask)
    alone = plausibility(tiny_bundle, episodes[1:2], **ask)[0]
    for name in SCORES:
        assert getattr(together[1], name) == pytest.approx(getattr(alone, name), rel=1e-3)
    broken = plausibility(tiny_bundle, other_actions(episodes), **ask)
    assert broken[1].surprise != together[1].surprise, "actions matter"
    assert broken[1].lost_tracks == together[1].lost_tracks, "pictures do not"


def test_depth_that_moves_with_the_colours_fits_and_another_ones_does_not(episodes):
    moving = episodes[1]
    assert depth_mismatch(moving, "front") < 0.5
    (_, broken, _) = other_depth(episodes)
    assert depth_mismatch(broken, "front") > 0.9
    assert depth_mismatch(episodes[0], "front") == 0, "nothing moves, nothing disagrees"
    assert depth_mismatch(replace(moving, depth_m={}), "front") == 0


def test_tracks_are_lost_where_the_picture_jumps():
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    still = np.repeat(noise[:1], 4, axis=0)
    jumping = np.concatenate([still[:2], np.repeat(noise[1:], 2, axis=0)])
    assert lost_tracks(still) < 0.05
    assert lost_tracks(jumping) > 0.5


def test_a_state_outside_the_recorded_range_counts_by_how_far(episodes):
    recorded = np.concatenate([one.state for one in episodes])
    known = ArmRange.of(recorded)
    assert range_excess(episodes[0], known) < 0.5
    state = episodes[0].state.copy()
    state[3, 1] = recorded[:, 1].max() + 4 * recorded[:, 1].std()
    assert range_excess(replace(episodes[0], state=state), known) == pytest.approx(4, abs=0.2)
    assert range_excess(episodes[0], None) == 0


def test_reasons_name_the_scores_that_are_too_high():
    scores = Plausibility(
        entropy=1.0,
        surprise=2.0,
        surprise_peak=float("nan"),
        depth_surprise_peak=0.0,
        depth_mismatch=0.9,
        lost_tracks=0.1,
        range_excess=0.0,
    )
    limits = Thresholds(
        checkpoint="",
        largest={"entropy": 1.0, "surprise_peak": 9.0, "depth_mismatch": 0.5},
        range=ArmRange(low=(), high=(), deviation=()),
        kept=0.95,
    )
    assert limits.reasons(scores) == ["surprise_peak nan > 9", "depth_mismatch 0.9 > 0.5"]


def test_episodes_without_the_depth_that_is_read_are_refused(tiny_bundle, episodes):
    blind = [replace(one, depth_m={}) for one in episodes]
    with pytest.raises(ValueError, match="lacks that of front"):
        plausibility(tiny_bundle, blind, state_range=None, cameras=("front",))
    with pytest.raises(ValueError, match="one length"):
        plausibility(tiny_bundle, [], state_range=None, cameras=("front",))


def test_a_teleported_episode_goes_on_as_the_other_one(episodes):
    first, *_ = teleported(episodes)
    np.testing.assert_array_equal(first.rgb["front"][:4], episodes[0].rgb["front"][:4])
    np.testing.assert_array_equal(first.rgb["front"][4:], episodes[1].rgb["front"][4:])
    np.testing.assert_array_equal(first.actions, episodes[0].actions)
