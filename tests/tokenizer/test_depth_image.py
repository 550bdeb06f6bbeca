import torch
from hypothesis import given
from hypothesis import strategies as st

from roboscape.tokenizer.depth_image import depth_to_image, image_to_depth, share_outside

RANGE = {"min_m": 0.3, "max_m": 3.0}


@given(st.floats(0.3, 3.0))
def test_depth_in_range_comes_back(depth_m):
    depth = torch.full((1, 2, 2), depth_m)
    back = image_to_depth(depth_to_image(depth, **RANGE), **RANGE)
    torch.testing.assert_close(back, depth, rtol=1e-5, atol=0)


def test_equal_steps_of_the_image_are_equal_ratios_of_depth():
    depth = torch.tensor([[[0.3, 0.3 * 10**0.5, 3.0]]])
    image = depth_to_image(depth, **RANGE)
    torch.testing.assert_close(image[0, 0, 0], torch.tensor([-1.0, 0.0, 1.0]))
    assert image.shape == (1, 3, 1, 3)
    assert torch.equal(image[:, 0], image[:, 1])


def test_outside_is_clipped_and_counted():
    depth = torch.tensor([[[0.1, 1.0, 9.0, float("inf")]]])
    back = image_to_depth(depth_to_image(depth, **RANGE), **RANGE)
    torch.testing.assert_close(back, torch.tensor([[[0.3, 1.0, 3.0, 3.0]]]))
    assert share_outside(depth, **RANGE) == 0.75
    assert share_outside(depth.clamp(0.3, 3.0), **RANGE) == 0
