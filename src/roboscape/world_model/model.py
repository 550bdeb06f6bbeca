"""The world model: two branches of spatial-temporal blocks, depth feeding RGB (section 2.3).

The whole forward pass, in the order in which it happens: inputs, their embedding (Eq. 2), attention
in space and time (positions and visibility: `timesteps.py`), blocks, heads, and the model that runs
them and injects depth into RGB (Eq. 3).

Axes: m modality, b clip, t timestep, n token of a frame, p patch of a frame, k token of a patch,
f factor of a token, s value of a factor, d channel, e channel of what a head reads, c control.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.core.attention import attend
from roboscape.core.pretrained import load_model, resolve, save_weights
from roboscape.core.recompute import recomputed
from roboscape.tokenizer.codes import MISSING, split_factors
from roboscape.world_model.cache import Cache, LayerMemory, Memory, Turn
from roboscape.world_model.config import DEPTH, RGB, WorldModelConfig
from roboscape.world_model.control_field import ControlField
from roboscape.world_model.copying import CopyingHead, with_previous
from roboscape.world_model.patches import fold, unfold
from roboscape.world_model.timesteps import Time, rotate, time_of
from roboscape.world_model.views import camera_vectors, of_all_views


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """The inputs of the model: one a timestep, for the frame that is predicted there."""

    previous: Int[Tensor, "m b t n"] | None
    """Codes of the frame before; None under the plain masked objective."""
    current: Int[Tensor, "m b t n"]
    """Codes of the timestep's own frame; read only where they are not masked."""
    masked: Bool[Tensor, "m b t n"]
    """True where a token of the timestep's own frame is to be predicted."""
    controls: Float[Tensor, "b t c"]
    """The control signal that led into the timestep's frame."""


INITIAL_STD = 1.0
"""Standard deviation of every embedding at the start."""


class TokenEmbedding(nn.Module):
    """A vector a patch: the sum of one table entry per factor of each of its tokens."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        tables = config.tokens_per_patch * config.factors
        self.tables = nn.EmbeddingBag(tables * config.factor_size, config.width, mode="sum")
        # A patch's tokens together start as large as a single token of two factors.
        nn.init.normal_(self.tables.weight, std=INITIAL_STD * (2 / tables) ** 0.5)

    def forward(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p d"]:
        """The sum over a patch's tokens."""
        return self.sums(rearrange(self.entries(codes), "... k f -> ... (k f)"))

    def of_tokens(self, codes: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p k d"]:
        """A vector a token: the same before the sum over a patch's tokens."""
        return self.sums(self.entries(codes))

    def entries(self, codes: Int[Tensor, "b t n"]) -> Int[Tensor, "b t p k f"]:
        """Table entries of every token's factors; every place in a patch has its own tables."""
        config = self.config
        groups = split_factors(
            fold(codes, config), code_bits=config.code_bits, factors=config.factors
        )
        first = config.factor_size * torch.arange(
            config.tokens_per_patch * config.factors, device=codes.device
        )
        return groups + rearrange(first, "(k f) -> k f", f=config.factors)

    def sums(self, entries: Int[Tensor, "*b e"]) -> Float[Tensor, "*b d"]:
        """One vector for every last axis of entries."""
        vectors = self.tables(entries.reshape(-1, entries.shape[-1]))
        return vectors.reshape(*entries.shape[:-1], -1)


class InputEmbedding(nn.Module):
    """One branch's input: previous frame + current frame + control + position, added (Eq. 2)."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.previous = TokenEmbedding(config) if config.objective == "next_frame" else None
        self.current = TokenEmbedding(config)
        # As large as what it stands for.
        scale = INITIAL_STD * config.tokens_per_patch**-0.5
        self.mask = nn.Parameter(scale * torch.randn(config.tokens_per_patch, config.width))
        self.config = config
        self.control = nn.Linear(config.control_size, config.width)
        # All summands start equally large, else the controls would drown the tokens.
        nn.init.normal_(self.control.weight, std=INITIAL_STD / max(1, config.control_size) ** 0.5)
        nn.init.zeros_(self.control.bias)
        self.position = nn.Parameter(
            INITIAL_STD * torch.randn(config.patches_per_view, config.width)
        )
        self.camera = camera_vectors(config, channels=config.width)
        several = config.cameras > 1
        self.missing = nn.Parameter(torch.zeros(config.width)) if several else None
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
        masked: Bool[Tensor, "b t n"],
        controls: Float[Tensor, "b t c"],
        positions: Int[Tensor, "*b t"],
    ) -> Float[Tensor, "b t p d"]:
        """The sum; a masked token enters as the learned mask vector of its place in the patch, and
        what a view shows before it is given as the one that stands for what is missing."""
        position = of_all_views(self.position, self.camera)
        broadcast = rearrange(self.control(controls), "b t d -> b t 1 d") + position
        if self.time is not None:
            broadcast = broadcast + rearrange(self.time[positions], "... t d -> ... t 1 d")
        masked = fold(masked, self.config).unsqueeze(-1)
        known = torch.where(masked, self.mask, self.current.of_tokens(current)).sum(dim=-2)
        if self.previous is not None and previous is not None:
            known = known + self.read(previous)
        return known + broadcast

    def read(self, previous: Int[Tensor, "b t n"]) -> Float[Tensor, "b t p d"]:
        """The previous frame. Without several views, missing tokens are read as code 0."""
        assert self.previous is not None
        vectors = self.previous(previous.clamp(min=0))
        if self.missing is None:
            return vectors
        missing = fold(previous == MISSING, self.config).any(dim=-1, keepdim=True)
        return torch.where(missing, self.missing, vectors)


class SpatialAttention(nn.Module):
    """Bidirectional attention among the N tokens of one frame (section 2.3)."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        """Mix tokens within every frame."""
        # Heads before q, k, v: then all three, here and in time, are views that need no copy.
        q, k, v = rearrange(
            self.qkv(x), "b t n (h three d) -> three (b t) h n d", three=3, h=self.heads
        )
        return self.out(rearrange(attend(q, k, v), "(b t) h n d -> b t n (h d)", b=len(x)))


class TemporalAttention(nn.Module):
    """Causal attention among the timesteps of one token position (section 2.3)."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "b t n d"], *, time: Time, cache: LayerMemory | None = None
    ) -> Float[Tensor, "b t n d"]:
        """Mix timesteps within every token position; with a cache, those remembered too."""
        projected = self.qkv(x)
        if cache is not None:
            projected = projected.to(cache.dtype)
        qkv = rearrange(projected, "b t n (h three d) -> three b (n h) t d", three=3, h=self.heads)
        qk, v = qkv[:2], qkv[2]
        q, k = qk if time.rotation is None else rotate(qk, time.rotation)
        if cache is not None:
            k, v = cache.exchange(k, v)
        mixed = attend(q, k, v, bias=time.bias)
        return self.out(rearrange(mixed, "b (n h) t d -> b t n (h d)", h=self.heads))


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
        self, x: Float[Tensor, "b t p d"], *, time: Time, cache: LayerMemory | None = None
    ) -> Float[Tensor, "b t p d"]:
        """Refine the residual stream."""
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x), time=time, cache=cache)
        # The GELU's output is as large as its input, and cheap to compute again.
        hidden = self.expand(self.norm_mlp(x))
        return x + recomputed(lambda hidden: self.contract(F.gelu(hidden)), hidden)


def make_head(config: WorldModelConfig) -> nn.Module:
    """A branch's head, whose logits start at zero (or from the previous frame, where asked for)."""
    head = nn.Linear(config.width, config.tokens_per_patch * config.factors * config.factor_size)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return CopyingHead(config, head) if config.copy_previous else head


class Branch(nn.Module):
    """One modality's transformer; F_RGB or F_Depth of Eq. 2."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.embedding = InputEmbedding(config)
        self.control_field = ControlField(config) if config.control_field else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = make_head(config)


def zero_linear(width: int) -> nn.Linear:
    """W_l of Eq. 3, zero at first."""
    linear = nn.Linear(width, width, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


class WorldModel(nn.Module):
    """The dual-branch co-autoregressive transformer, on one device."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.branches = nn.ModuleList(Branch(config) for _ in range(config.modalities))
        injected = config.inject_depth and config.branches == "both"
        self.injections = nn.ModuleList(
            zero_linear(config.width) for _ in range(config.num_layers if injected else 0)
        )

    def forward(self, inputs: ModelInputs) -> tuple[Float[Tensor, "b t n f s"], ...]:
        """Logits of every token's factors, one tensor a modality."""
        features = self.features(inputs)
        return tuple(self.frame_logits(x, modality=m) for m, x in enumerate(features))

    def features(
        self, inputs: ModelInputs, *, cache: Cache | None = None, turn: Turn = "next"
    ) -> tuple[Float[Tensor, "b t p e"], ...]:
        """The features that the heads read: the last block's output, normalised, one a modality.

        With `copy_previous`, followed by what the previous frame holds there.

        With a cache that holds timesteps, `inputs` has a single one: the next, or the newest again.
        """
        count = inputs.controls.shape[1]
        if cache is not None:
            cache.begin(turn, timesteps=count)
        time = time_of(self.config, count, cache=cache, device=inputs.controls.device)
        streams = self.run(inputs, time=time, cache=cache)
        if cache is not None:
            cache.finish(timesteps=count)
        return streams

    def run(
        self, inputs: ModelInputs, *, time: Time, cache: Memory | None
    ) -> tuple[Float[Tensor, "b t p e"], ...]:
        """`features` without its bookkeeping: what it computes depends on tensors alone."""
        streams = self.embed(inputs, positions=time.positions)
        for layer in range(self.config.num_layers):
            streams = self.run_layer(layer, streams, time=time, cache=cache)
        features = tuple(self.branch(m).norm(x) for m, x in enumerate(streams))
        if not self.config.copy_previous or inputs.previous is None:
            return features
        return tuple(
            with_previous(x, codes, self.config)
            for x, codes in zip(features, inputs.previous, strict=True)
        )

    def embed(
        self, inputs: ModelInputs, *, positions: Int[Tensor, "*b t"]
    ) -> list[Float[Tensor, "b t p d"]]:
        """Every branch's embedded inputs (Eq. 2), and the control at every position."""
        streams = [
            self.branch(m).embedding(
                previous=None if inputs.previous is None else inputs.previous[m],
                current=inputs.current[m],
                masked=inputs.masked[m],
                controls=inputs.controls,
                positions=positions,
            )
            for m in range(self.config.modalities)
        ]
        fields = [self.branch(m).control_field for m in range(self.config.modalities)]
        return [
            x if field is None else x + field(inputs.controls)
            for x, field in zip(streams, fields, strict=True)
        ]

    def run_layer(
        self,
        layer: int,
        streams: list[Float[Tensor, "b t p d"]],
        *,
        time: Time,
        cache: Memory | None,
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
    ) -> Float[Tensor, "*p k f s"]:
        """Logits of a modality's tokens, at any selection of patches."""
        flat = self.branch(modality).head(features)
        shape = {"k": self.config.tokens_per_patch, "f": self.config.factors}
        return rearrange(flat, "... (k f s) -> ... k f s", **shape)

    def frame_logits(
        self, features: Float[Tensor, "b t p e"], *, modality: int
    ) -> Float[Tensor, "b t n f s"]:
        """Logits of all tokens of whole frames."""
        frames = rearrange(features, "b t p e -> (b t) p e")
        logits = unfold(self.logits(frames, modality=modality), self.config)
        return rearrange(logits, "(b t) n f s -> b t n f s", b=len(features))

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
        return load_model(cls, WorldModelConfig, resolve(name, subfolder=subfolder))
