"""The world model: two branches of spatial-temporal blocks, depth feeding RGB (section 2.3)."""

from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.core.pretrained import load_weights, read_config, resolve, save_weights
from roboscape.core.recompute import recomputed
from roboscape.world_model.attention import SpatialAttention, TemporalAttention
from roboscape.world_model.cache import Cache, LayerCache, Turn
from roboscape.world_model.config import DEPTH, RGB, WorldModelConfig
from roboscape.world_model.embedding import RowEmbedding, Rows
from roboscape.world_model.head import make_head, with_previous
from roboscape.world_model.patches import unfold
from roboscape.world_model.time import Time, causal_bias, rotation_at, visibility_bias


class Block(nn.Module):
    """One ST-Transformer block: space, time, MLP; residual and pre-norm."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.norm_space, self.norm_time, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.space = SpatialAttention(width=width, heads=heads)
        self.time = TemporalAttention(width=width, heads=heads)
        self.expand = nn.Linear(width, config.mlp_ratio * width, bias=False)
        self.contract = nn.Linear(config.mlp_ratio * width, width, bias=False)
        # A new block changes nothing: its residual branches end in zeros.
        for last in (self.space.out, self.time.out, self.contract):
            nn.init.zeros_(last.weight)

    def forward(
        self, x: Float[Tensor, "b t p d"], *, time: Time, cache: LayerCache | None = None
    ) -> Float[Tensor, "b t p d"]:
        """Refine the residual stream."""
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x), time=time, cache=cache)
        # What the GELU gives is as large as what it takes, and cheap to make again.
        hidden = self.expand(self.norm_mlp(x))
        return x + recomputed(lambda hidden: self.contract(F.gelu(hidden)), hidden)


class Branch(nn.Module):
    """One modality's transformer; F_RGB or F_Depth of Eq. 2."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.embedding = RowEmbedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = make_head(config)


def zero_linear(width: int) -> nn.Linear:
    """W_l of Eq. 3, which says nothing at first."""
    linear = nn.Linear(width, width, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


class WorldModel(nn.Module):
    """The dual-branch co-autoregressive transformer. It knows one device and no training."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.branches = nn.ModuleList(Branch(config) for _ in range(config.modalities))
        injected = config.inject_depth and config.branches == "both"
        self.injections = nn.ModuleList(
            zero_linear(config.width) for _ in range(config.depth if injected else 0)
        )

    def forward(self, rows: Rows) -> tuple[Float[Tensor, "b t n f s"], ...]:
        """Logits of every token's factors, one tensor a modality."""
        features = self.features(rows)
        return tuple(self.frame_logits(x, modality=m) for m, x in enumerate(features))

    def features(
        self, rows: Rows, *, cache: Cache | None = None, turn: Turn = "next"
    ) -> tuple[Float[Tensor, "b t p e"], ...]:
        """What the heads read: the last block's output, normalised, one tensor a modality.

        With `copy_previous`, followed by what the previous frame holds there.

        With a cache that holds rows, `rows` is a single one: the next, or the newest once more.
        """
        count = rows.controls.shape[1]
        if cache is not None:
            cache.begin(turn, rows=count)
        start = cache.position if cache else 0
        self.check_horizon(start + count)
        time = self.time_of(start, count, cache=cache, device=rows.controls.device)
        streams = self.run(rows, time=time, first_row=start, cache=cache)
        if cache is not None:
            cache.finish(rows=count)
        return streams

    def run(
        self, rows: Rows, *, time: Time, first_row: int, cache: Cache | None
    ) -> tuple[Float[Tensor, "b t p e"], ...]:
        """`features` without its bookkeeping: it depends on tensors, and on a learned time."""
        streams = self.embed(rows, first_row=first_row)
        for layer in range(self.config.depth):
            streams = self.run_layer(layer, streams, time=time, cache=cache)
        features = tuple(self.branch(m).norm(x) for m, x in enumerate(streams))
        if not self.config.copy_previous or rows.previous is None:
            return features
        return tuple(
            with_previous(x, codes, self.config)
            for x, codes in zip(features, rows.previous, strict=True)
        )

    def embed(self, rows: Rows, *, first_row: int) -> list[Float[Tensor, "b t p d"]]:
        """Every branch's input rows (Eq. 2)."""
        return [
            self.branch(modality).embedding(
                previous=None if rows.previous is None else rows.previous[modality],
                current=rows.current[modality],
                hidden=rows.hidden[modality],
                controls=rows.controls,
                first_row=first_row,
            )
            for modality in range(self.config.modalities)
        ]

    def time_of(self, start: int, count: int, *, cache: Cache | None, device: torch.device) -> Time:
        """Positions and visibility of a pass over `count` rows from `start` on."""
        config = self.config
        if cache is None or cache.is_prompt:
            bias = causal_bias(count, window=config.window, device=device)
        else:
            bias = visibility_bias(cache.visible().to(device))
        if config.time_position == "learned":
            return Time(bias=bias, rotation=None)
        positions = torch.arange(start, start + count, device=device)
        rotation = rotation_at(positions, head_size=config.head_size, base=config.rotary_base)
        return Time(bias=bias, rotation=rotation)

    def run_layer(
        self,
        layer: int,
        streams: list[Float[Tensor, "b t p d"]],
        *,
        time: Time,
        cache: Cache | None,
    ) -> list[Float[Tensor, "b t p d"]]:
        """One block of each branch, then `h_rgb += W_l(h_depth)` (Eq. 3)."""
        streams = [
            self.branch(m).blocks[layer](
                x, time=time, cache=cache.layers[m][layer] if cache else None
            )
            for m, x in enumerate(streams)
        ]
        if self.injections:
            streams[RGB] = streams[RGB] + self.injections[layer](streams[DEPTH])
        return streams

    def logits(
        self, features: Float[Tensor, "*p e"], *, modality: int
    ) -> Float[Tensor, "*p slots f s"]:
        """Logits of a modality's tokens, at any selection of positions."""
        flat = self.branch(modality).head(features)
        shape = {"slots": self.config.slots, "f": self.config.factors}
        return rearrange(flat, "... (slots f s) -> ... slots f s", **shape)

    def frame_logits(
        self, features: Float[Tensor, "b t p e"], *, modality: int
    ) -> Float[Tensor, "b t n f s"]:
        """Logits of all tokens of whole frames."""
        b = len(features)
        frames = rearrange(features, "b t p d -> (b t) p d")
        logits = unfold(self.logits(frames, modality=modality), self.config)
        return rearrange(logits, "(b t) n f s -> b t n f s", b=b)

    def check_horizon(self, rows: int) -> None:
        """Refuse to go beyond a learned table of times."""
        if self.config.time_position == "learned" and rows > self.config.window:
            raise ValueError(
                f"this model has a learned table of {self.config.window} rows in time and was "
                f"asked for row {rows}; shorten the rollout to {self.config.max_frames} frames, or "
                "train with time_position `rotary`, which has no end"
            )

    def branch(self, modality: int) -> Branch:
        """The branch of a modality."""
        return cast(Branch, self.branches[modality])

    @property
    def hidden_dtype(self) -> torch.dtype:
        """The format of the hidden layers' weights; `for_imagining` changes it."""
        return cast(Block, self.branch(RGB).blocks[0]).expand.weight.dtype

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of one branch (the paper's way of counting) and of everything."""
        one = sum(parameter.numel() for parameter in self.branches[RGB].parameters())
        return {"one branch": one, "total": sum(p.numel() for p in self.parameters())}

    def tables(self) -> list[str]:
        """Beginnings of the names of matrices that are no hidden layers: embeddings and heads."""
        return [
            f"branches.{m}.{part}"
            for m in range(len(self.branches))
            for part in ("embedding", "head")
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, subfolder: str = "") -> "WorldModel":
        """Load from a folder or a hub repository, ready to imagine."""
        folder = resolve(name, subfolder=subfolder)
        model = cls(read_config(WorldModelConfig, folder))
        load_weights(model, folder)
        return model.eval().requires_grad_(requires_grad=False)
