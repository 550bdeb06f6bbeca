"""Models and prompts to measure with: real shapes, random contents."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.presets.world_model import PRESETS
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel

CONTROL_SIZE = 51
"""Numbers in a control signal: robosuite Lift's commanded ones at stride 4, 16 of them a state."""


def shape_of(preset: str, *, branches: Literal["both", "rgb"]) -> WorldModelConfig:
    """The model of a preset, with RGB alone or depth too."""
    if preset not in PRESETS:
        raise UserError(f"there is no preset `{preset}`; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[preset]().model, control_size=CONTROL_SIZE, branches=branches)


def random_model(config: WorldModelConfig, *, device: str) -> WorldModel:
    """A model whose weights all matter: a fresh one's heads and residual branches are zero."""
    torch.manual_seed(0)
    model = WorldModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model.to(device).requires_grad_(requires_grad=False)


def random_prompt(
    config: WorldModelConfig, *, batch: int, device: str, frames: int = 1
) -> tuple[Int[Tensor, "m b t n"], Float[Tensor, "b c"]]:
    """Frames of random codes, and one control signal."""
    generator = torch.Generator().manual_seed(1)
    shape = (config.modalities, batch, frames, config.tokens_per_frame)
    prompt = torch.randint(2**config.code_bits, shape, generator=generator).int()
    control = torch.randn(batch, config.control_size, generator=generator)
    return prompt.to(device), control.to(device)
