"""The control field: the meaning of a control signal at every place, one vector a position."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.views import camera_vectors, of_all_views


class ControlField(nn.Module):
    """`out(gelu(middle(gelu(enter(c) + place))))`: an MLP of the control and a learned vector a
    position.

    The control embedding of Eq. 2 is the same vector everywhere; but where an arm will appear
    depends on the control and the place together. Zero at first.

    It lies beside a branch's embedding, not in it: its matrices are hidden layers, which Muon
    trains. Under AdamW, at the rate of the embeddings, it gained nothing (`docs/decisions.md`).
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        hidden = config.control_field
        self.enter = nn.Linear(config.control_size, hidden, bias=False)
        self.place = nn.Parameter(torch.randn(config.patches_per_view, hidden))
        self.camera = camera_vectors(config, channels=hidden)
        self.middle = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, config.width, bias=False)
        for linear in (self.enter, self.middle):
            nn.init.normal_(linear.weight, std=max(1, linear.in_features) ** -0.5)
        nn.init.zeros_(self.out.weight)

    def forward(self, controls: Float[Tensor, "b t c"]) -> Float[Tensor, "b t p d"]:
        """A vector a timestep and position."""
        place = of_all_views(self.place, self.camera)
        hidden = rearrange(self.enter(controls), "b t h -> b t 1 h") + place
        return self.out(F.gelu(self.middle(F.gelu(hidden))))
