import pytest
import torch

from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel

TINY = {
    "control_size": 3,
    "num_layers": 2,
    "width": 16,
    "heads": 2,
    "code_bits": 6,
    "grid": (2, 3),
    "max_frames": 5,
}


PATCHED = {"grid": (2, 4), "patch": 2}
TWO_VIEWS = {"views": ("front", "wrist")}
SHAPES = {
    "one token a position": {},
    "2 x 2 tokens a position": PATCHED,
    "two views": TWO_VIEWS,
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def make_model(request, randomised):
    """A tiny model whose every weight matters: nothing is left at zero."""

    def make(**changes):
        return randomised(WorldModel(WorldModelConfig(**(TINY | request.param | changes))))

    return make


@pytest.fixture
def make_clip():
    """Random tokens and controls that fit a model: tokens `m b t n`, controls `b t c`."""

    def make(model, *, batch=2, frames=5, seed=1):
        config, generator = model.config, torch.Generator().manual_seed(seed)
        shape = (config.modalities, batch, frames, config.tokens_per_frame)
        tokens = torch.randint(2**config.code_bits, shape, generator=generator).int()
        controls = torch.randn(batch, frames, config.control_size, generator=generator)
        return tokens, controls

    return make
