"""The plain form of the world model: the same mathematics and weights, written out directly.

What open implementations of this model family do: attention written out over all rows of the clip,
logits of every token of every frame, no cache, fp32. It is the baseline of the benchmark and the
reference of the tests of `roboscape.world_model`, with which it shares no layer, only the names and
shapes of the weights.
"""

import math
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from roboscape.tokenizer.codes import MISSING
from roboscape.world_model.config import DEPTH, RGB, WorldModelConfig
from roboscape.world_model.copying import with_previous
from roboscape.world_model.model import ModelInputs, WorldModel, make_head


class PlainAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V among the entries of the axis before last."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "s l d"],
        *,
        visible: Bool[Tensor, "l l"] | None = None,
        angles: Float[Tensor, "l half"] | None = None,
    ) -> Float[Tensor, "s l d"]:
        """Attention in every one of s sequences."""
        s, length, width = x.shape
        size = width // self.heads
        # The weights hold q, k and v of one head after the other.
        qkv = self.qkv(x).reshape(s, length, self.heads, 3, size).permute(3, 0, 2, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        if angles is not None:
            q, k = turn(q, angles), turn(k, angles)
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(size)
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        mixed = torch.matmul(torch.softmax(scores, dim=3), v)
        return self.out(mixed.permute(0, 2, 1, 3).reshape(s, length, width))


def turn(x: Float[Tensor, "s h l d"], angles: Float[Tensor, "l half"]) -> Float[Tensor, "s h l d"]:
    """Rotary position: channel i with channel i + d / 2, by the row's angle."""
    half = x.shape[-1] // 2
    left, right = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class PlainBlock(nn.Module):
    """Space, time, MLP; residual and pre-norm."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.norm_space, self.norm_time, self.norm_mlp = (
            nn.LayerNorm(config.width) for _ in range(3)
        )
        self.space, self.time = PlainAttention(config), PlainAttention(config)
        hidden = config.mlp_ratio * config.width
        self.expand = nn.Linear(config.width, hidden, bias=False)
        self.contract = nn.Linear(hidden, config.width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b t p d"],
        *,
        visible: Bool[Tensor, "t t"],
        angles: Float[Tensor, "t half"] | None,
    ) -> Float[Tensor, "b t p d"]:
        """Refine the residual stream."""
        b, t, p, d = x.shape
        space = self.space(self.norm_space(x).reshape(b * t, p, d))
        x = x + space.reshape(b, t, p, d)
        by_position = self.norm_time(x).permute(0, 2, 1, 3).reshape(b * p, t, d)
        time = self.time(by_position, visible=visible, angles=angles)
        x = x + time.reshape(b, p, t, d).permute(0, 2, 1, 3)
        return x + self.contract(nn.functional.gelu(self.expand(self.norm_mlp(x))))


class PlainTokenEmbedding(nn.Module):
    """One table entry per factor of every token of a position."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.tokens_per_patch * config.factors * config.factor_size
        self.tables = nn.Embedding(entries, config.width)

    def forward(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p slots d"]:
        """The sum over a token's factors."""
        config = self.config
        slots = in_patches(codes, config).long()
        size, total = config.factor_size, torch.zeros((), device=codes.device)
        first = size * config.factors * torch.arange(config.tokens_per_patch, device=codes.device)
        for factor in range(config.factors):
            group = torch.div(slots, size**factor, rounding_mode="floor") % size
            total = total + self.tables(group + first + size * factor)
        return total


def in_patches(
    tokens: Int[Tensor, "b t n"] | Bool[Tensor, "b t n"], config: WorldModelConfig
) -> Int[Tensor, "b t p slots"] | Bool[Tensor, "b t p slots"]:
    """The tokens of every square that is one position."""
    (height, width), side = config.frame_grid, config.patch
    b, t, _ = tokens.shape
    squares = tokens.reshape(b, t, height // side, side, width // side, side)
    return squares.permute(0, 1, 2, 4, 3, 5).reshape(b, t, -1, side * side)


class PlainEmbedding(nn.Module):
    """One branch's input rows: previous + current + control + position (Eq. 2)."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.previous = PlainTokenEmbedding(config) if config.objective == "next_frame" else None
        self.current = PlainTokenEmbedding(config)
        self.mask = nn.Parameter(torch.zeros(config.tokens_per_patch, config.width))
        self.config = config
        self.control = nn.Linear(config.control_size, config.width)
        self.position = nn.Parameter(torch.zeros(config.patches_per_view, config.width))
        several = config.cameras > 1
        self.camera = nn.Parameter(torch.zeros(config.cameras, config.width)) if several else None
        self.missing = nn.Parameter(torch.zeros(config.width)) if several else None
        learned = config.time_position == "learned"
        self.time = nn.Parameter(torch.zeros(config.window, config.width)) if learned else None

    def forward(self, rows: ModelInputs, *, modality: int) -> Float[Tensor, "b t p d"]:
        """The sum."""
        hidden = in_patches(rows.masked[modality], self.config).unsqueeze(-1)
        current = self.current(rows.current[modality])
        x = torch.where(hidden, self.mask, current).sum(dim=3)
        if self.previous is not None and rows.previous is not None:
            x = x + self.read(rows.previous[modality])
        position: list[Tensor] = [self.position]
        if self.camera is not None:
            position = [self.position + camera for camera in self.camera]
        x = x + self.control(rows.controls).unsqueeze(2) + torch.cat(position)
        if self.time is not None:
            x = x + self.time[: x.shape[1]].unsqueeze(1)
        return x

    def read(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p d"]:
        """The previous frame; a patch of missing tokens has a vector of its own."""
        assert self.previous is not None
        vectors = self.previous(codes.clamp(min=0)).sum(dim=3)
        if self.missing is None:
            return vectors
        missing = (in_patches(codes, self.config) == MISSING).any(dim=3)
        vectors[missing] = self.missing
        return vectors


class PlainControlField(nn.Module):
    """An MLP of the control and a vector a position, written out position by position."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        hidden = config.control_field
        self.enter = nn.Linear(config.control_size, hidden, bias=False)
        self.place = nn.Parameter(torch.zeros(config.patches_per_view, hidden))
        several = config.cameras > 1
        self.camera = nn.Parameter(torch.zeros(config.cameras, hidden)) if several else None
        self.middle = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, config.width, bias=False)

    def forward(self, controls: Float[Tensor, "b t c"]) -> Float[Tensor, "b t p d"]:
        """The field."""
        entered, gelu = self.enter(controls), nn.functional.gelu
        places = list(self.place)
        if self.camera is not None:
            places = [place + camera for camera in self.camera for place in self.place]
        at = [self.out(gelu(self.middle(gelu(entered + place)))) for place in places]
        return torch.stack(at, dim=2)


class PlainBranch(nn.Module):
    """One modality's transformer."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.embedding = PlainEmbedding(config)
        self.control_field = PlainControlField(config) if config.control_field else None
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = make_head(config)


class PlainWorldModel(nn.Module):
    """The world model, plainly; see the file's docstring."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.branches = nn.ModuleList(PlainBranch(config) for _ in range(config.modalities))
        injected = config.inject_depth and config.branches == "both"
        self.injections = nn.ModuleList(
            nn.Linear(config.width, config.width, bias=False)
            for _ in range(config.num_layers if injected else 0)
        )

    @classmethod
    def of(cls, model: WorldModel) -> "PlainWorldModel":
        """The plain form of a model, with copies of its weights."""
        plain = cls(model.config)
        plain.load_state_dict(model.state_dict())
        device = next(model.parameters()).device
        plain = plain.to(device).train(model.training)
        for mine, theirs in zip(plain.parameters(), model.parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
        return plain

    def forward(self, rows: ModelInputs) -> tuple[Float[Tensor, "b t n f s"], ...]:
        """Logits of every token's factors, one tensor a modality."""
        config, count = self.config, rows.controls.shape[1]
        age = torch.arange(count).unsqueeze(1) - torch.arange(count)
        visible = ((age >= 0) & (age < config.window)).to(rows.controls.device)
        angles = None
        if config.time_position == "rotary":
            angles = self.rotary_angles(count).to(rows.controls.device)
        streams = [self.branch(m).embedding(rows, modality=m) for m in range(config.modalities)]
        if config.control_field:
            streams = [
                x + cast(PlainControlField, self.branch(m).control_field)(rows.controls)
                for m, x in enumerate(streams)
            ]
        for layer in range(config.num_layers):
            for m, x in enumerate(streams):
                streams[m] = self.branch(m).blocks[layer](x, visible=visible, angles=angles)
            if len(self.injections):
                streams[RGB] = streams[RGB] + self.injections[layer](streams[DEPTH])
        features = [self.branch(m).norm(x) for m, x in enumerate(streams)]
        if config.copy_previous and rows.previous is not None:
            features = [with_previous(x, rows.previous[m], config) for m, x in enumerate(features)]
        return tuple(self.as_frames(self.branch(m).head(x)) for m, x in enumerate(features))

    def branch(self, modality: int) -> PlainBranch:
        """The branch of a modality."""
        return cast(PlainBranch, self.branches[modality])

    def rotary_angles(self, count: int) -> Float[Tensor, "t half"]:
        """Angle of every pair of channels in every row (Su et al. 2021, Eq. 34)."""
        config = self.config
        frequencies = config.rotary_base ** -(
            torch.arange(0, config.head_size, 2).double() / config.head_size
        )
        return (torch.arange(count).double().unsqueeze(1) * frequencies).float()

    def as_frames(self, flat: Float[Tensor, "b t p out"]) -> Float[Tensor, "b t n f s"]:
        """Logits of tokens, row by row of the image again."""
        config, side = self.config, self.config.patch
        b, t = flat.shape[:2]
        height, width = config.frame_grid[0] // side, config.frame_grid[1] // side
        sizes = (b, t, height, width, side, side, config.factors, config.factor_size)
        squares = flat.reshape(sizes).permute(0, 1, 2, 4, 3, 5, 6, 7)
        return squares.reshape(b, t, -1, config.factors, config.factor_size)
