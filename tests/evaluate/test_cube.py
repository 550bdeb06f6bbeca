import numpy as np

from roboscape.evaluate.cube import cube_test
from roboscape.simulators.lift_cube import CubeSighting


def sighting(height: float) -> CubeSighting:
    return CubeSighting(height=np.array([0.07, height]), centre_px=np.zeros((2, 2)))


def test_counts_by_hand():
    up, down, gone = sighting(0.3), sighting(0.07), sighting(np.nan)
    found = cube_test(
        true=[up, up, down, down, down],
        imagined=[up, gone, up, down, up],
        decoded=[up, up, up, down, down],
        rewarded=np.array([True, True, False, False, True]),
    )
    assert (found.rose_in_both, found.rose_only_in_truth) == (1, 1)
    assert (found.rose_only_in_imagination, found.rose_in_neither) == (1, 1)
    assert found.undecided == 1  # the simulator saw a lift that the true video does not show
    assert found.agreement == 0.5
    assert found.detector_agreement == 0.8
    assert found.ceiling_agreement == 0.75
    assert found.seen == 9 / 10


def test_several_seeds_count_every_clip_once_a_seed():
    found = cube_test(
        true=[sighting(0.3)],
        imagined=[sighting(0.3), sighting(0.07)],
        decoded=[sighting(0.3)],
        rewarded=None,
    )
    assert (found.rose_in_both, found.rose_only_in_truth) == (1, 1)
    assert found.undecided == 0
    assert found.detector_agreement is None
