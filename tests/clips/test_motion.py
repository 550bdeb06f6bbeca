import numpy as np
import pytest

from roboscape.clips.motion import measure_motion


def line(frames=9, points=10, speed=2.0):
    xy = np.zeros((frames, points, 2), np.float32)
    xy[:, 0, 0] = np.arange(frames) * speed
    return xy


def test_a_straight_path_is_its_length_and_in_order():
    motion = measure_motion(line(), np.ones((9, 10), bool))
    assert motion.path_px == pytest.approx(16.0)
    assert motion.disorder == pytest.approx(0.0)


def test_back_and_forth_is_disorder():
    xy = line()
    xy[:, 0, 0] = np.arange(9) % 2
    assert measure_motion(xy, np.ones((9, 10), bool)).disorder == pytest.approx(1.0)


def test_the_key_frame_is_where_the_points_jump():
    xy = line()
    xy[6:, 0, 0] += 10
    assert measure_motion(xy, np.ones((9, 10), bool)).key_frame == 6


def test_hidden_points_do_not_move():
    visible = np.ones((9, 10), bool)
    visible[:, 0] = False
    assert measure_motion(line(), visible).path_px == 0.0


def test_a_scene_at_rest():
    assert measure_motion(line(speed=0), np.ones((9, 10), bool)).path_px == 0.0
