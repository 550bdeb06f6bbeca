"""Words that follow from figures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.config import load_config
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.evaluate.verdict import Verdict, judge


@pytest.fixture(scope="module")
def results(tiny_bundle, lift_dataset):
    settings = EvaluationSettings(horizon=3, per_episode=2, examples=1, tasks="off")
    return evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=settings).results


def with_gains(results, gains):
    """The same results, the model's clips this much above the still picture's."""
    clips = tuple(
        replace(clip, psnr_db=clip.static_psnr_db + gain)
        for clip, gain in zip(results.clips, gains, strict=True)
    )
    return replace(results, clips=clips)


def test_an_untrained_model_is_worse_and_the_words_say_what_helps(results):
    found = judge(results, training_episodes=4)
    assert found.judgement == "worse"
    gains = [clip.psnr_db - clip.static_psnr_db for clip in results.clips]
    assert found.gain.mean == pytest.approx(np.mean(gains))
    assert found.words[0].startswith(f"Worse than a still picture by {-np.mean(gains):.1f} dB [")
    words = " ".join(found.words)
    assert "4 training episodes are too few; what helps: " in words
    # The untrained tokenizer loses more than a still picture does.
    assert "no world model on it can win" in words
    assert "6 clips of 3 held-out episodes" in words


def test_the_table_has_the_rows_and_columns_that_were_measured(results):
    found = judge(results, training_episodes=4)
    still, model, ceiling = found.lines
    assert [line.subject for line in found.lines] == ["static", "model", "ceiling"]
    for line in found.lines:
        row = results.row("psnr").of(line.subject)
        assert line.psnr == row.estimate.mean
        assert line.moving == results.row("psnr@moving").of(line.subject).estimate.mean
        assert line.still == results.row("psnr@still").of(line.subject).estimate.mean
    assert still.delta_psnr is None and ceiling.delta_psnr is None
    assert model.delta_psnr == found.delta_psnr.mean
    text = found.text()
    assert found.words[0] in text
    table = text.split("\n\n")[-1].splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        "still picture",
        "model",
        "tokenizer ceiling",
    ]
    assert f"{still.moving:.2f}" in table[1] and f"{model.psnr:.2f}" in table[2]
    assert "[" in table[2] and "[" not in table[1]


@pytest.mark.parametrize(
    ("gains", "judgement", "said"),
    [
        ([1, 2, 2, 3, 3, 4], "better", "Better than a still picture by 2.5 dB [1.5, 3.5]."),
        (
            [9, 9, -2, -2, -2, -2],
            "no clear difference",
            "No clear difference from a still picture: 1.7",
        ),
        ([-1, -2, -2, -3, -3, -4], "worse", "Worse than a still picture by 2.5 dB [1.5, 3.5]."),
    ],
)
def test_the_interval_over_episodes_decides(results, gains, judgement, said):
    found = judge(with_gains(results, gains), training_episodes=4)
    assert found.judgement == judgement
    assert found.words[0].startswith(said)
    assert ("too few; what helps" in " ".join(found.words)) == (judgement != "better")


def test_of_one_episode_there_is_no_interval(tiny_bundle, lift_dataset):
    settings = EvaluationSettings(horizon=3, clips=1, per_episode=3, examples=1, tasks="off")
    found = judge(
        evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=settings).results,
        training_episodes=1,
    )
    assert "[one episode: no interval]" in found.words[0]
    assert "one held-out episode" in " ".join(found.words)
    assert found.delta_psnr is None
    assert "1 training episode is too few" in " ".join(found.words)


def test_few_episodes_are_called_few(results):
    assert "too narrow" in judge(results, training_episodes=4).words[1]


def test_a_verdict_survives_its_file(results, tmp_path):
    found = judge(results, training_episodes=4)
    found.save(tmp_path)
    assert load_config(Verdict, tmp_path / "verdict.json") == found
    assert json.loads((tmp_path / "verdict.json").read_text())["words"] == list(found.words)
