"""From tokens and controls to the input rows of the transformer (Eq. 2)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.config import WorldModelConfig

INITIAL_STD = 1.0
"""Standard deviation of every embedding at the start."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Input rows, one a frame to predict. Axes: m modality (RGB, depth), b, t row, n token."""

    previous: Int[Tensor, "m b t n"] | None
    """Codes of the frame before; none under the plain masked objective."""
    current: Int[Tensor, "m b t n"]
    """Codes of the row's own frame; read only where revealed."""
    hidden: Bool[Tensor, "m b t n"]
    """True where a token of the row's own frame is not known yet."""
    controls: Float[Tensor, "b t c"]
    """The control signal that led into the row's frame."""


class TokenEmbedding(nn.Module):
    """Vectors of codes: the sum of one table entry per factor."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.code_bits, self.factors = config.code_bits, config.factors
        self.factor_size = config.factor_size
        self.tables = nn.EmbeddingBag(config.factors * config.factor_size, config.width, mode="sum")
        nn.init.normal_(self.tables.weight, std=INITIAL_STD)

    def forward(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t n d"]:
        """Look up every factor and add."""
        groups = split_factors(codes, code_bits=self.code_bits, factors=self.factors)
        entries = groups + self.factor_size * torch.arange(self.factors, device=codes.device)
        vectors = self.tables(rearrange(entries, "b t n f -> (b t n) f"))
        b, t, n = codes.shape
        return rearrange(vectors, "(b t n) d -> b t n d", b=b, t=t, n=n)


class RowEmbedding(nn.Module):
    """One branch's input: previous + current + control + position, added (Eq. 2)."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.previous = TokenEmbedding(config) if config.objective == "next_frame" else None
        self.current = TokenEmbedding(config)
        self.mask = nn.Parameter(INITIAL_STD * torch.randn(config.width))
        self.control = nn.Linear(config.control_size, config.width)
        # All summands start equally large, else the controls would drown the tokens.
        nn.init.normal_(self.control.weight, std=INITIAL_STD / max(1, config.control_size) ** 0.5)
        nn.init.zeros_(self.control.bias)
        self.position = nn.Parameter(
            INITIAL_STD * torch.randn(config.tokens_per_frame, config.width)
        )
        learned = config.time_position == "learned"
        self.time = (
            nn.Parameter(INITIAL_STD * torch.randn(config.window, config.width))
            if learned
            else None
        )

    def forward(
        self,
        *,
        previous: Int[Tensor, "b t n"] | None,
        current: Int[Tensor, "b t n"],
        hidden: Bool[Tensor, "b t n"],
        controls: Float[Tensor, "b t c"],
        first_row: int,
    ) -> Float[Tensor, "b t n d"]:
        """The sum; a hidden token is the learned mask vector."""
        broadcast = rearrange(self.control(controls), "b t d -> b t 1 d") + self.position
        if self.time is not None:
            rows = self.time[first_row : first_row + controls.shape[1]]
            broadcast = broadcast + rearrange(rows, "t d -> t 1 d")
        known = torch.where(hidden.unsqueeze(-1), self.mask, self.current(current))
        if self.previous is not None and previous is not None:
            known = known + self.previous(previous)
        return known + broadcast
