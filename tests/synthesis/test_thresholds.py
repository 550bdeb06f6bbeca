"""Thresholds and ROC curves."""

import numpy as np
import pytest

from roboscape.core.pretrained import bundled_models, resolve
from roboscape.synthesis.plausibility import SCORES
from roboscape.synthesis.synthesize import THRESHOLDS, Synthesize, thresholds_of
from roboscape.synthesis.thresholds import (
    area_under_roc,
    detection,
    joint_score,
    limits_of,
    roc_curve,
)


@pytest.fixture
def proper():
    return np.random.default_rng(0).normal(size=(400, len(SCORES)))


def test_all_thresholds_together_keep_the_wanted_share(proper):
    limits, kept = limits_of(proper, kept=0.95)
    assert 0.95 <= kept <= 0.96
    assert (proper <= limits).all(axis=1).mean() == kept
    # Each alone keeps more, or there would be nothing to share out.
    assert ((proper <= limits).mean(axis=0) > 0.95).all()


def test_few_episodes_set_no_thresholds(proper):
    with pytest.raises(ValueError, match="ten proper episodes"):
        limits_of(proper[:9], kept=0.95)


@pytest.mark.parametrize(
    ("broken", "area"),
    [([5, 6], 1.0), ([-1, -2], 0.0), ([1, 2], 0.5), ([2, 2], 0.75)],
)
def test_the_area_counts_pairs_with_ties_by_half(broken, area):
    assert area_under_roc(np.array([1.0, 2.0]), np.array(broken, float)) == area


def test_a_roc_curve_rises_from_none_to_all(proper):
    broken = proper + 1
    alarms, found = roc_curve(proper[:, 0], broken[:, 0])
    assert (alarms[0], found[0], alarms[-1], found[-1]) == (0, 0, 1, 1)
    assert (np.diff(alarms) >= 0).all() and (np.diff(found) >= 0).all()
    under = (np.diff(alarms) * (found[1:] + found[:-1]) / 2).sum()
    assert under == pytest.approx(area_under_roc(proper[:, 0], broken[:, 0]), abs=1e-9)


def test_one_bad_score_is_enough_to_set_an_episode_apart(proper):
    limits, _ = limits_of(proper, kept=0.95)
    broken = np.full((10, len(SCORES)), -3.0)
    assert detection(proper, broken, limits=limits).found == 0
    broken[:, 3] = 50
    found = detection(proper, broken, limits=limits)
    assert found.found == 1 and found.count == 10
    assert found.area[SCORES[3]] == 1 and found.area[SCORES[0]] == pytest.approx(0, abs=0.01)
    assert (joint_score(broken, proper) == 1).all()


def test_thresholds_that_come_with_a_bundle_are_of_this_bundle(tmp_path):
    calibrated = [name for name in bundled_models() if (resolve(name) / THRESHOLDS).is_file()]
    assert "lift" in calibrated
    for name in calibrated:
        config = Synthesize(
            checkpoint=name, dataset=tmp_path / "data", output=tmp_path / "out", episodes=1
        )
        # Refused where a part of the bundle was replaced and they were not made anew.
        found = thresholds_of(config)
        assert found is not None and found.kept >= 0.9
