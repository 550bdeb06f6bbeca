"""From tokens and controls to the input rows of the transformer (Eq. 2)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.patches import fold

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
    """Vectors of positions: the sum of one table entry per factor of each of their tokens."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        tables = config.slots * config.factors
        self.tables = nn.EmbeddingBag(tables * config.factor_size, config.width, mode="sum")
        # A position's tokens together start as large as a single token of two factors.
        nn.init.normal_(self.tables.weight, std=INITIAL_STD * (2 / tables) ** 0.5)

    def forward(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p d"]:
        """Look up every factor of every token of a position, and add."""
        entries = rearrange(self.entries(codes), "... slots f -> ... (slots f)")
        return self.sums(entries)

    def of_tokens(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p slots d"]:
        """The same before the sum over a position's tokens."""
        return self.sums(self.entries(codes))

    def entries(self, codes: Int[Tensor, "b t n"]) -> Int[Tensor, "b t p slots f"]:
        """Table entries of every token's factors; every slot has tables of its own."""
        config = self.config
        groups = split_factors(
            fold(codes, config), code_bits=config.code_bits, factors=config.factors
        )
        first = config.factor_size * torch.arange(
            config.slots * config.factors, device=codes.device
        )
        return groups + rearrange(first, "(slots f) -> slots f", f=config.factors)

    def sums(self, entries: Int[Tensor, "*b e"]) -> Float[Tensor, "*b d"]:
        """One vector for every last axis of entries."""
        vectors = self.tables(entries.reshape(-1, entries.shape[-1]))
        return vectors.reshape(*entries.shape[:-1], -1)


class RowEmbedding(nn.Module):
    """One branch's input: previous + current + control + position, added (Eq. 2)."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.previous = TokenEmbedding(config) if config.objective == "next_frame" else None
        self.current = TokenEmbedding(config)
        # As large as what it stands for.
        scale = INITIAL_STD * config.slots**-0.5
        self.mask = nn.Parameter(scale * torch.randn(config.slots, config.width))
        self.config = config
        self.control = nn.Linear(config.control_size, config.width)
        # All summands start equally large, else the controls would drown the tokens.
        nn.init.normal_(self.control.weight, std=INITIAL_STD / max(1, config.control_size) ** 0.5)
        nn.init.zeros_(self.control.bias)
        self.position = nn.Parameter(
            INITIAL_STD * torch.randn(config.positions_per_frame, config.width)
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
    ) -> Float[Tensor, "b t p d"]:
        """The sum; a hidden token is its slot's learned mask vector."""
        broadcast = rearrange(self.control(controls), "b t d -> b t 1 d") + self.position
        if self.time is not None:
            rows = self.time[first_row : first_row + controls.shape[1]]
            broadcast = broadcast + rearrange(rows, "t d -> t 1 d")
        masked = fold(hidden, self.config).unsqueeze(-1)
        known = torch.where(masked, self.mask, self.current.of_tokens(current)).sum(dim=-2)
        if self.previous is not None and previous is not None:
            known = known + self.previous(previous)
        return known + broadcast
