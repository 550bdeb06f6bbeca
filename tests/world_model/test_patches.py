import pytest
import torch
from einops import rearrange

from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.patches import fold, patch_of, unfold

CONFIG = WorldModelConfig(grid=(4, 6), patch=2)


def test_a_position_is_a_square_of_tokens_row_by_row():
    folded = fold(torch.arange(24), CONFIG)
    assert folded.shape == (6, 4)
    assert folded[0].tolist() == [0, 1, 6, 7]
    assert folded[5].tolist() == [16, 17, 22, 23]


def test_unfold_is_the_inverse_of_fold():
    tokens = torch.arange(2 * 24).view(2, 24)
    slots = rearrange(fold(tokens, CONFIG), "b p k -> b p k 1 1")
    assert torch.equal(unfold(slots, CONFIG)[..., 0, 0], tokens)


def test_every_token_is_found_at_its_position_and_slot():
    position, slot = patch_of(torch.arange(24), CONFIG)
    assert torch.equal(fold(torch.arange(24), CONFIG)[position, slot], torch.arange(24))


def test_a_patch_that_does_not_divide_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"patch must divide .*\(4, 6\), got 4"):
        WorldModelConfig(grid=(4, 6), patch=4)
