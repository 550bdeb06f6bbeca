import numpy as np
import pytest

from roboscape.annotate.segments.key_frames import (
    arrival_row,
    gripper_key_row,
    relevant_rows,
    relevant_share,
)


def test_a_gripper_acts_where_it_moves_fastest():
    opening = np.array([4.0, 4, 4, 3.5, 1.5, 1, 1])
    assert gripper_key_row(opening, first=0, end=7) == 4
    assert gripper_key_row(opening, first=5, end=7) == 5, "nothing moves: the segment's first row"


def test_a_hand_arrives_before_it_stops():
    assert arrival_row(np.array([0.0, 1, 1, 1, 0.2, 0, 0]), first=0, end=7) == 3


def test_waiting_at_the_ends_is_irrelevant_and_a_pause_inside_is_not():
    busy = np.array([False, True, False, True, False, False])
    assert relevant_rows(busy, first=0, end=6, key=3) == (1, 4)
    assert relevant_rows(busy, first=4, end=6, key=5) == (5, 6)
    assert relevant_rows(busy, first=0, end=6, key=5) == (1, 6)


def test_relevance_is_a_share_of_the_clips_rows():
    assert relevant_share([(0, 4), (8, 10)], rows=range(0, 12, 2)) == pytest.approx(3 / 6)
    assert relevant_share([], rows=range(3)) == 0
