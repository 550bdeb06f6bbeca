import numpy as np
import pytest

from roboscape.core.colour import colour_depth, colour_error, depth_range_m


def brightness(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(int).sum(axis=-1)


def test_near_is_bright_and_far_is_dark():
    depth_m = np.linspace(0.5, 3.0, 40).reshape(1, 40)
    bright = brightness(colour_depth(depth_m, nearest_m=0.5, farthest_m=3.0))[0]
    assert (np.diff(bright) <= 0).all()
    assert bright[0] > 400 > 20 > bright[-1]


def test_equal_ratios_of_depth_are_equal_steps_of_colour():
    depths = np.array([[1.0, 2.0, 4.0]])
    middle = colour_depth(depths, nearest_m=1.0, farthest_m=4.0)[0, 1]
    halfway = colour_depth(np.array([[10.0]]), nearest_m=1.0, farthest_m=100.0)[0, 0]
    assert np.array_equal(middle, halfway)


def test_what_lies_outside_the_range_takes_its_ends():
    colours = colour_depth(np.array([[0.1, 1.0, 2.0, 9.0]]), nearest_m=1.0, farthest_m=2.0)[0]
    assert np.array_equal(colours[0], colours[1])
    assert np.array_equal(colours[2], colours[3])


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="0 < nearest_m < farthest_m"):
        colour_depth(np.ones((2, 2)), nearest_m=1.0, farthest_m=1.0)


def test_no_error_is_black_and_more_error_is_brighter():
    grey = np.full((1, 3, 3), 100, np.uint8)
    other = grey + np.array([0, 40, 120], np.uint8)[None, :, None]
    bright = brightness(colour_error(grey, other))[0]
    assert bright[0] < 10 < bright[1] < bright[2]


def test_the_range_ignores_holes_and_outliers():
    depth_m = np.full((100, 100), 2.0)
    depth_m[:50] = 1.0
    depth_m[0, 0], depth_m[0, 1] = 0.0, 60.0
    assert depth_range_m(depth_m) == (1.0, 2.0)
    nearest_m, farthest_m = depth_range_m(np.ones((4, 4)))
    assert nearest_m < farthest_m
    with pytest.raises(ValueError, match="positive values"):
        depth_range_m(np.zeros((4, 4)))
