import numpy as np
import pytest
import torch

from roboscape.tokenizer.frames import FrameCache, write_cache
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig


@pytest.fixture
def config() -> TokenizerConfig:
    return TokenizerConfig(
        image_size=32,
        encoder_width=16,
        decoder_width=32,
        decoder_blocks=1,
        decoder_heads=2,
        convolution_width=16,
        depth_min_m=0.3,
        depth_max_m=3.0,
    )


@pytest.fixture
def tokenizer(config) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(config).eval()


@pytest.fixture
def frames(tmp_path) -> FrameCache:
    """Two episodes of a square that moves over a slope."""
    return write_cache(tmp_path / "frames", [moving_square(6, start=2), moving_square(6, start=9)])


def moving_square(length: int, *, start: int):
    rgb = np.full((length, 32, 32, 3), 200, np.uint8)
    depth_m = np.broadcast_to(np.linspace(1, 2, 32, dtype=np.float32), (length, 32, 32)).copy()
    for t in range(length):
        rgb[t, 10:18, start + t : start + t + 8] = (180, 30, 30)
        depth_m[t, 10:18, start + t : start + t + 8] = 0.5
    return rgb, depth_m
