"""A world model prepared for imagining: its matrix products in the format that is fast here.

Residual streams, norms, embeddings and heads stay in fp32, so a format changes only what autocast
would have changed in training; but the weights are converted once, not at every step.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.world_model.model import WorldModel


class CastLinear(nn.Module):
    """A linear map without bias whose weights are kept in another format than its input."""

    def __init__(self, linear: nn.Linear, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(dtype), requires_grad=False)

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """The product, in the weights' format."""
        return F.linear(x.to(self.weight.dtype), self.weight)


def for_imagining(model: WorldModel, *, dtype: torch.dtype) -> WorldModel:
    """A copy whose hidden layers compute in `dtype`; the model itself where that is fp32.

    It predicts and does nothing else: it cannot be trained or saved.
    """
    if dtype == torch.float32:
        return model
    prepared = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    tables = tuple(model.tables())
    hidden = {
        name: layer
        for name, layer in prepared.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith(tables)
    }
    for name, layer in hidden.items():
        owner, _, attribute = name.rpartition(".")
        setattr(prepared.get_submodule(owner), attribute, CastLinear(layer, dtype=dtype))
    return prepared
