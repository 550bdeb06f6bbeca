"""Budgets: the same minutes from a bundle and from nothing, measured on episodes left out."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.clips.split import episodes_of
from roboscape.core.files import read_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.rollout.bundle import PROBED, Bundle
from roboscape.tokens.store import TokenStore
from tests.benchmarks.points import moving_points
from tests.conftest import SPEC, make_episode

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "transfer"))

import budgets
import few_episodes
from budgets import Budgets

CAMERA = SPEC.cameras[0].name


@pytest.fixture
def config(tiny_bundle, tmp_path):
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    # Another camera, which the clip index does not name.
    side = replace(SPEC.cameras[0], name="side")
    with DatasetWriter(tmp_path / "data", replace(SPEC, cameras=(side, *SPEC.cameras))) as writer:
        for seed in range(4):
            episode = make_episode(seed, rises=seed % 2 == 0)
            writer.add(
                replace(
                    episode,
                    frames={**episode.frames, "side": episode.frames[CAMERA]},
                    depth_m={**episode.depth_m, "side": episode.depth_m[CAMERA]},
                    tracks={CAMERA: moving_points(len(episode))},
                )
            )
    index_clips(IndexClips(dataset=tmp_path / "data", length=6, stride=2, camera=CAMERA))
    return Budgets(
        dataset=tmp_path / "data",
        output=tmp_path / "output",
        checkpoint=str(tmp_path / "bundle"),
        minutes=(1 / 30,),
        leave_out=(0, 2),
        per_episode=2,
        preset="debug",
        decoder_steps=0,
        augmented_copies=3,
    )


def test_episodes_left_out_are_neither_trained_on_nor_a_reason_to_stop(config):
    for left_out, asked, validation in (((3,), (), [0]), ((2,), (1,), [1]), ((0, 2), (3,), [3])):
        fold = budgets.fold_of(replace(config, validation=asked), left_out)
        dataset = LeRobotDataset(fold)
        splits = [list(episodes_of(dataset, s)) for s in ("test", "validation", "train")]
        assert splits[:2] == [list(left_out), validation]
        assert sorted(itertools.chain(*splits)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_both_starts_get_the_same_steps_and_the_same_episodes(config, monkeypatch, capsys):
    # Two seconds of training: seconds a step are measured, whatever they are here.
    monkeypatch.setattr(few_episodes, "seconds_a_step", lambda *_, **__: 0.1)
    monkeypatch.setattr(few_episodes, "tokenize", lambda _: None)
    found = budgets.main(config)
    assert [(one.left_out, one.learnt.start) for one in found] == [
        ((episode,), start) for episode in (0, 2) for start in ("bundle", "scratch")
    ]
    for one in found:
        assert (one.learnt.tokenizer_steps, one.learnt.world_model_steps) == (7, 13)
        assert one.learnt.episodes == 2 and one.clips == 2
        tokens = TokenStore(one.learnt.checkpoint.parent / "tokens")
        assert len(tokens.episodes) == 4 + 3 * 2
        assert tokens.config.cameras == (CAMERA,)
    last = found[-1]
    bundle = Bundle.from_pretrained(str(last.learnt.checkpoint)).for_imagining(PROBED)
    results = evaluate(
        BundlePredictor(bundle),
        LeRobotDataset(config.output / "recordings_2"),
        settings=EvaluationSettings(split="test", per_episode=2, horizon=5, examples=0),
    ).results
    assert last.psnr["model"] == results.row("psnr").model.estimate.mean
    above = last.psnr["model"] - results.row("psnr").static.estimate.mean
    assert last.gain.mean == pytest.approx(above)
    assert len(read_json(config.output / "budgets.json")["models"]) == 4
    text = (config.output / "budgets.md").read_text()
    assert capsys.readouterr().out.strip().endswith(text.strip())
    ours = np.mean([one.gain.mean for one in found if one.learnt.start == "scratch"])
    assert f"**{ours:+.2f}** (" in text

    monkeypatch.setattr(few_episodes, "learn", None)  # a second time nothing is learnt again
    again = budgets.main(config)
    assert [one.learnt for one in again] == [one.learnt for one in found]
    for other in ({"augmented_copies": 0}, {"validation": (1,)}):
        with pytest.raises(ValueError, match="was begun with other settings"):
            budgets.main(replace(config, **other))


@pytest.mark.slow
def test_left_out_together_they_are_one_training(config, monkeypatch):
    monkeypatch.setattr(few_episodes, "seconds_a_step", lambda *_, **__: 0.1)
    monkeypatch.setattr(few_episodes, "tokenize", lambda _: None)
    (one,) = budgets.main(replace(config, together=True, validation=(1,), starts=("bundle",)))
    assert one.left_out == (0, 2) and one.learnt.episodes == 1 and one.clips == 4
    assert one.gain.num_episodes == one.delta_psnr.num_episodes == 2
    text = (config.output / "budgets.md").read_text()
    assert f"**{one.gain.mean:+.2f}** ({one.gain.low:+.2f} to {one.gain.high:+.2f})" in text


def test_what_cannot_be_learnt_is_refused(config):
    with pytest.raises(ValueError, match="--minutes above 0"):
        replace(config, minutes=(0.0,))
    for left_out, validation in (((4,), (1,)), ((2,), (2,)), ((0, 1), (2, 3))):
        with pytest.raises(ValueError, match="others to train on; got"):
            budgets.fold_of(replace(config, validation=validation), left_out)
