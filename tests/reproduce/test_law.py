"""The fitted law finds exponents that were planted, and says how sure it is."""

import numpy as np
import pytest

from roboscape.reproduce.law import fit_power_law

N = np.repeat([1e5, 4e5, 1.6e6], 9)
D = np.tile(np.repeat([1e3, 4e3, 1.6e4], 3), 3)


def losses(noise):
    random = np.random.default_rng(1)
    return 30 * N**-0.1 * D**-0.2 * np.exp(noise * random.normal(size=len(N)))


def test_planted_exponents_are_found():
    law = fit_power_law(losses(0.0), parameters=N, frames=D)
    found = {one.name: one.value for one in law.exponents}
    assert found == pytest.approx({"parameters": 0.1, "frames": 0.2})
    assert law.scale == pytest.approx(30)
    assert law.explained == pytest.approx(1)


def test_intervals_hold_the_truth_and_grow_with_noise():
    widths = []
    for noise in (0.02, 0.08):
        law = fit_power_law(losses(noise), parameters=N, frames=D)
        for one, truth in zip(law.exponents, (0.1, 0.2), strict=True):
            assert one.low < truth < one.high
        widths.append(law.exponents[1].high - law.exponents[1].low)
    assert widths[1] == pytest.approx(4 * widths[0], rel=1e-6)


def test_what_does_not_vary_is_left_out():
    law = fit_power_law(losses(0.01)[:9], parameters=N[:9], frames=D[:9])
    assert [one.name for one in law.exponents] == ["frames"]


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="needs more runs"):
        fit_power_law(losses(0.0)[:2], parameters=N[:2], frames=np.array([1e3, 2e3]))
