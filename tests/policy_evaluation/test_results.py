import json
import re
from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.core.video import write_video
from roboscape.policies.worlds import WorldChoice
from roboscape.policy_evaluation.episodes import EpisodeRecord
from roboscape.policy_evaluation.evaluate import PolicyEval, labels_of
from roboscape.policy_evaluation.report import disagreements, held, scatter, write_report
from roboscape.policy_evaluation.results import (
    Outcomes,
    as_json,
    auroc,
    flagged_episodes,
    flags_of,
    inflation,
    scores_of,
)

STARTS = 12


@pytest.fixture(scope="module")
def outcomes():
    """Three policies; imagination turns two failures of the first into successes."""
    random = np.random.default_rng(0)
    true = random.random((3, STARTS)) < np.array([[0.2], [0.5], [0.9]])
    imagined = true.copy()
    failures = np.flatnonzero(~true[0])[:2]
    imagined[0, failures] = True
    imagined[2, np.flatnonzero(true[2])[0]] = False
    confidence = np.where(true == imagined, 0.8, 0.6)
    confidence[0, failures] = [0.5, 0.7]
    return Outcomes(
        labels=("bad", "medium", "good"),
        seeds=tuple(range(800_000, 800_000 + STARTS)),
        true=true,
        true_by_rule=true,
        imagined=imagined,
        confidence=confidence,
        loss_over_motion=random.random((3, STARTS)),
        replayed=true,
    )


@pytest.fixture(scope="module")
def scores(outcomes):
    return scores_of(outcomes, true_episodes=6, flagged=0.1, draws=50)


def test_false_successes_and_failures_are_counted_apart(scores, outcomes):
    found = scores.closed_loop
    assert (found.episodes.only_imagined, found.episodes.only_true) == (2, 1)
    assert found.false_success_rate == pytest.approx(2 / (~outcomes.true).sum())
    assert found.bias.value == pytest.approx(1 / (3 * STARTS))
    assert found.inflation.value == pytest.approx(2 / (3 * STARTS))


def test_open_loop_is_compared_by_itself(scores):
    assert scores.open_loop.episodes.share == 1
    assert scores.open_loop.pearson.value == pytest.approx(1)


def test_too_low_rates_do_not_make_up_for_too_high_ones():
    assert inflation(np.array([0.2, 0.8]), np.array([0.4, 0.6])) == pytest.approx(0.1)


def test_a_sign_that_knows_every_disagreement_has_an_auroc_of_one(outcomes):
    found = flagged_episodes(outcomes, "confidence", -outcomes.confidence, share=3 / 36)
    assert found.auroc == 1
    assert found.disagreements_among_flagged == found.flagged == 3
    assert found.agreement_without == 1
    assert found.bias_without == 0


def test_episodes_that_end_otherwise_with_the_object_elsewhere_are_flagged(outcomes):
    """Two repetitions: one false success turns in both, one true success in one."""
    again = np.stack([outcomes.imagined, outcomes.imagined])
    false = np.flatnonzero(outcomes.imagined[0] & ~outcomes.true[0])[0]
    right = np.flatnonzero(outcomes.imagined[1] & outcomes.true[1])[0]
    again[:, 0, false] = False
    again[1, 1, right] = False
    nudged = replace(outcomes, nudged=again)
    doubt = nudged.unsteadiness
    assert (doubt[0, false], doubt[1, right], doubt.sum()) == (1, 0.5, 1.5)
    found = flags_of(nudged, share=0.1)[-1]
    assert found.sign == "ends otherwise with the object elsewhere (2 repetitions)"
    assert (found.flagged, found.disagreements_among_flagged) == (2, 1)
    assert (found.false_successes_without, found.true_failures_without) == (
        1,
        int((~outcomes.true).sum()) - 1,
    )
    # Of two false successes one is found, above all true ones but none: half is chance.
    successes = int((outcomes.imagined & outcomes.true).sum())
    expected = (1 + (successes - 1) / successes / 2) / 2
    assert found.auroc_of_successes == pytest.approx(expected)
    assert len(flags_of(outcomes, share=0.1)) == 2


def test_repetitions_are_read_from_their_records(outcomes):
    names = ("true", "imagined", "nudged_1", "nudged_2")
    record = EpisodeRecord(
        seed=5, success=True, by_rule=True, frames=3, confidence=1.0, loss_over_motion=0.0
    )
    records = {name: {"p": {5: replace(record, success=name != "nudged_2")}} for name in names}
    found = Outcomes.of(records, seeds=[5])
    np.testing.assert_array_equal(found.nudged, [[[True]], [[False]]])
    np.testing.assert_array_equal(found.unsteadiness, [[0.5]])


def test_auroc_counts_ties_as_half():
    assert auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert auroc(np.array([2.0, 1.0]), np.array([True, False])) == 1
    assert np.isnan(auroc(np.array([2.0, 1.0]), np.array([True, True])))


def test_few_true_episodes_are_the_first_ones(scores, outcomes):
    assert scores.policies[1].few.successes == outcomes.true[1, :6].sum()
    assert scores.policies[1].powered.true_episodes == 6
    assert scores.policies[1].powered.imagined_episodes == STARTS - 6


def test_scores_are_strict_json(outcomes):
    alike = replace(outcomes, imagined=np.ones_like(outcomes.true))
    found = as_json(scores_of(alike, true_episodes=3, flagged=0.0, draws=20))
    assert found["closed_loop"]["pearson"]["value"] is None
    assert found["policies"][0]["powered"] is None
    json.dumps(found, allow_nan=False)


def test_the_surest_false_success_comes_first_and_false_failures_last(outcomes):
    found = disagreements(outcomes)
    assert [one.false_success for one in found] == [True, True, False]
    assert [one.confidence for one in found[:2]] == [0.7, 0.5]


def test_the_page_holds_all_that_it_shows(scores, outcomes, tmp_path):
    def film_of(label, world, seed):
        path = tmp_path / f"{label}_{world}_{seed}.mp4"
        length = 4 if world == "true" else 6
        write_video(path, np.zeros((length, 32, 32, 3), np.uint8), fps=5.0)
        return path

    page = write_report(
        scores, outcomes, tmp_path, settings={"Starts": "12"}, films=2, film_of=film_of
    ).read_text()
    assert page.count("data:video/mp4;base64,") == 2
    assert page.count("false success: bad") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "A small sample: 12 starts" in page
    assert "$" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_a_point_lies_at_its_rates(scores):
    drawn = scatter(scores)
    policy = scores.policies[0]
    across = 44 + policy.true.rate * (460 - 12 - 44)
    up = 460 - 44 - policy.imagined.rate * (460 - 44 - 12)
    assert f'cx="{across:.1f}" cy="{up:.1f}"' in drawn


def test_the_shorter_film_rests_on_its_last_frame():
    short, long = np.zeros((2, 1, 1, 3), np.uint8), np.zeros((4, 1, 1, 3), np.uint8)
    short[1] = 9
    found, same = held([short, long])
    assert found[:, 0, 0, 0].tolist() == [0, 9, 9, 9]
    assert len(same) == 4


def test_policies_have_short_names_of_their_own():
    assert labels_of(("runs/a/policy", "runs/b@500", "x/b@500")) == ["a", "b@500-1", "b@500-2"]


def test_comparisons_of_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least 2 policies"):
        PolicyEval(policies=("a",), output=tmp_path)
    with pytest.raises(UserError, match="imagined world"):
        PolicyEval(policies=("a", "b"), output=tmp_path, world=WorldChoice())
