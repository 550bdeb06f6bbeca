"""Generalisation: lines that stand beside their floor and ceiling, told a task or not."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from roboscape.core.files import read_json
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.presets.world_model import debug
from roboscape.rollout.bundle import Compute
from tests.benchmarks.points import moving_points
from tests.conftest import SPEC, make_episode

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "transfer"))

import few_episodes
import generalisation
from few_episodes import FewEpisodes
from generalisation import Generalisation

CAMERA = SPEC.cameras[0].name


@pytest.fixture
def config(bundle_of_tasks, lift_dataset, tmp_path):
    for branch in bundle_of_tasks.world_model.branches:
        # Tasks are heard above all.
        branch.embedding.control.weight.mul_(10)
    bundle_of_tasks.save_pretrained(tmp_path / "bundle")
    return Generalisation(
        checkpoint=str(tmp_path / "bundle"),
        output=tmp_path / "output",
        datasets=(lift_dataset.root,),
        horizon=5,
        batch_size=2,
        compute=Compute(device="cpu", precision="fp32"),
    )


def test_a_line_is_what_evaluate_measures(config, bundle_of_tasks, lift_dataset):
    told, untold = generalisation.main(config)
    assert (told.text, untold.text) == ("told", "not told")
    settings = EvaluationSettings(horizon=5, batch_size=2)
    results = evaluate(BundlePredictor(bundle_of_tasks), lift_dataset, settings=settings).results
    for shown in generalisation.SHOWN:
        row = results.row(shown.key, reference=shown.reference)
        assert told.scores[shown.key]["model"] == row.model.estimate
    row = results.row("psnr")
    for line in (told, untold):
        assert line.scores["psnr"]["still picture"] == row.static.estimate
        assert line.scores["psnr"]["ceiling"] == row.ceiling.estimate
    one, other = (line.scores["psnr"]["model"].mean for line in (told, untold))
    assert one != other and told.gain.mean == pytest.approx(one - other)
    assert untold.gain is None


def test_what_is_printed_is_kept(config, capsys):
    lines = generalisation.main(config)
    text = (config.output / "generalisation.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert f"**{lines[0].scores['psnr']['model'].mean:.2f}**" in text
    found = read_json(config.output / "generalisation.json")["lines"]
    assert [line["scores"]["psnr"]["model"]["mean"] for line in found] == [
        line.scores["psnr"]["model"].mean for line in lines
    ]


def test_a_bundle_without_tasks_is_one_line(config, tiny_bundle, tmp_path):
    tiny_bundle.save_pretrained(tmp_path / "plain")
    (line,) = generalisation.main(replace(config, checkpoint=str(tmp_path / "plain")))
    assert line.text == "none" and line.gain is None


def test_nothing_to_measure_is_refused(config):
    with pytest.raises(ValueError, match="--datasets to measure on"):
        replace(config, datasets=())


@pytest.mark.slow
def test_a_task_is_learnt_from_few_episodes_for_as_long_from_both_starts(config, monkeypatch):
    def collect(root, task, *, seeds, like, rows):
        assert (task, rows) == ("drawer-close", 17) and like.controls.stride == 2
        chosen = [seed + i for seed, count in seeds.items() for i in range(count)]
        if not root.exists():
            with DatasetWriter(root, SPEC) as writer:
                for seed in chosen:
                    episode = make_episode(seed, rises=seed % 2 == 1)
                    writer.add(replace(episode, tracks={CAMERA: moving_points(len(episode))}))
        return root

    monkeypatch.setattr(few_episodes, "collect", collect)
    # Two seconds of training: seconds a step are measured, whatever they are here.
    monkeypatch.setattr(few_episodes, "seconds_a_step", lambda *_, **__: 0.1)
    monkeypatch.setattr(few_episodes, "tokenize", lambda _: None)
    few = FewEpisodes(
        episodes=(1,),
        minutes=1 / 30,
        validation_episodes=2,
        held_out_episodes=2,
        rows=17,
        preset="debug",
        proprioception_steps=2,
        decoder_steps=0,
    )
    config = replace(config, datasets=(), fine_tune="drawer-close", few=few)
    lines = generalisation.main(config)
    names = [line.model for line in lines]
    assert names == [*["bundle"] * 2, *["1 episodes, from bundle"] * 2, "1 episodes, from scratch"]
    learnt = [line.learnt for line in lines if line.learnt]
    assert {(one.tokenizer_steps, one.world_model_steps) for one in learnt} == {(7, 13)}
    assert all(one.cpu_minutes > 0 for one in learnt)
    monkeypatch.setattr(few_episodes, "learn", None)  # a second time nothing is learnt again
    again = generalisation.main(config)
    assert [line.learnt for line in again] == [line.learnt for line in lines]
    longer = replace(config, few=replace(few, minutes=2 * few.minutes))
    with pytest.raises(ValueError, match="was begun with other settings"):
        generalisation.main(longer)


def test_seconds_of_a_step_leave_out_what_every_training_costs(tmp_path, monkeypatch):
    clock, runs = iter([0, 9, 10, 15, 20, 33, 40, 45, 50, 71]), []
    monkeypatch.setattr(few_episodes.time, "process_time", lambda: next(clock))
    found = few_episodes.seconds_a_step(runs.append, debug(), folder=tmp_path, steps=8)
    # Of the second pair 16 seconds: something else ran beside it.
    assert found == (13 - 5) / 8
    assert [run.fit.steps for run in runs] == [1, 2, 10, 2, 10]
    assert len({run.output for run in runs}) == 5
