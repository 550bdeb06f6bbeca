from dataclasses import replace

import numpy as np

from roboscape.annotate.categories import (
    Challenge,
    difficulties,
    difficulty_scores,
    group_scenes,
    ranks_of,
    scene_signature,
)

CALM = Challenge(motion_px=5.0, disorder=0.1, hidden=0.0, gripper_events=0)


def test_ranks_go_from_least_to_most_and_share_ties():
    np.testing.assert_allclose(ranks_of([3.0, 1.0, 2.0]), [1, 0, 0.5])
    np.testing.assert_allclose(ranks_of([1, 1, 2]), [0.25, 0.25, 1])
    np.testing.assert_allclose(ranks_of([7, 7, 7]), 0.5)
    assert ranks_of([1]).tolist() == [0.5] and ranks_of([]).tolist() == []


def test_each_quantity_alone_makes_a_clip_harder():
    for harder in (
        replace(CALM, motion_px=9.0),
        replace(CALM, disorder=0.4),
        replace(CALM, hidden=0.2),
        replace(CALM, gripper_events=1),
    ):
        calm, hard = difficulty_scores([CALM, harder])
        assert hard > calm


def test_difficulties_are_thirds_in_any_units():
    clips = [replace(CALM, motion_px=float(3**n), hidden=n / 10) for n in range(9)]
    expected = ["easy"] * 3 + ["medium"] * 3 + ["hard"] * 3
    assert difficulties(clips) == expected
    assert difficulties([replace(one, motion_px=one.motion_px / 640) for one in clips]) == expected
    assert difficulties([]) == []


def test_scenes_are_told_apart_by_looks_and_not_by_what_moves():
    kitchen, bench = (
        np.full((64, 64, 3), 200, np.uint8),
        np.full((64, 64, 3), (30, 90, 40), np.uint8),
    )
    moved = kitchen.copy()
    moved[10:20, 30:38] = (180, 30, 30)
    signatures = [scene_signature(one) for one in (kitchen, bench, moved, bench)]
    assert group_scenes(signatures, largest_difference=12.0).tolist() == [0, 1, 0, 1]
    assert group_scenes(signatures, largest_difference=1e9).tolist() == [0, 0, 0, 0]
