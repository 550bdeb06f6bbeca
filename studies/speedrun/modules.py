"""Parts of a world model that the speed-run tries in the place of the package's own.

Each function takes a freshly built model and returns one with other parts. What wins moves into the
package, what loses stays a line of `docs/speedrun.md`: the package itself has no switches for them.
"""

from collections.abc import Callable
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.core.attention import attend
from roboscape.world_model.cache import LayerCache
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import (
    Block,
    Branch,
    SpatialAttention,
    TemporalAttention,
    TokenEmbedding,
    WorldModel,
)
from roboscape.world_model.timesteps import Time, rotate


def branches_of(model: WorldModel) -> list[Branch]:
    """All branches."""
    return [model.branch(modality) for modality in range(model.config.modalities)]


def blocks_of(model: WorldModel) -> list[Block]:
    """The blocks of all branches."""
    return [cast(Block, block) for branch in branches_of(model) for block in branch.blocks]


def replace_blocks(model: WorldModel, make: Callable[[WorldModelConfig], Block]) -> WorldModel:
    """The model with new blocks of another kind."""
    for branch in branches_of(model):
        branch.blocks = nn.ModuleList(make(model.config) for _ in branch.blocks)
    return model


class TiedHead(nn.Module):
    """Logits are products with the vectors that tokens enter with; one learned gain a channel."""

    def __init__(self, tables: nn.EmbeddingBag) -> None:
        super().__init__()
        entries, width = tables.weight.shape
        self.tables = tables
        self.gain = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(entries))

    def forward(self, x: Float[Tensor, "*p d"]) -> Float[Tensor, "*p e"]:
        """Logits of every entry, in the order that the ordinary head has too."""
        return F.linear(x * (self.gain * len(self.gain) ** -0.5), self.tables.weight, self.bias)


def tied(model: WorldModel) -> WorldModel:
    """The output head is the table of the previous frame's tokens (the row's own if masked)."""
    for branch in branches_of(model):
        embedding = branch.embedding.previous or branch.embedding.current
        branch.head = cast(nn.Linear, TiedHead(cast(TokenEmbedding, embedding).tables))
    return model


class HeadNorm(nn.Module):
    """Queries and keys of one length, times a learned gain a channel (QK-norm)."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(head_size))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalise by the root mean square over a head's channels."""
        return F.rms_norm(x, x.shape[-1:]) * self.gain.to(x.dtype)


class QkNormSpatial(SpatialAttention):
    """Spatial attention whose queries and keys are normalised."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__(width=width, heads=heads)
        self.query_norm, self.key_norm = (HeadNorm(width // heads) for _ in range(2))

    def forward(self, x: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        """Mix tokens within every frame."""
        q, k, v = rearrange(
            self.qkv(x), "b t n (h three d) -> three (b t) h n d", three=3, h=self.heads
        )
        mixed = attend(self.query_norm(q), self.key_norm(k), v)
        return self.out(rearrange(mixed, "(b t) h n d -> b t n (h d)", b=len(x)))


class QkNormTemporal(TemporalAttention):
    """Temporal attention whose queries and keys are normalised before they are turned."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__(width=width, heads=heads)
        self.query_norm, self.key_norm = (HeadNorm(width // heads) for _ in range(2))

    def forward(
        self, x: Float[Tensor, "b t n d"], *, time: Time, cache: LayerCache | None = None
    ) -> Float[Tensor, "b t n d"]:
        """Mix rows within every token position; with a cache, with the rows remembered too."""
        projected = self.qkv(x)
        if cache is not None:
            projected = projected.to(cache.dtype)
        q, k, v = rearrange(
            projected, "b t n (h three d) -> three b (n h) t d", three=3, h=self.heads
        )
        q, k = self.query_norm(q), self.key_norm(k)
        if time.rotation is not None:
            q, k = rotate(q, time.rotation), rotate(k, time.rotation)
        if cache is not None:
            k, v = cache.exchange(k, v)
        mixed = attend(q, k, v, bias=time.bias)
        return self.out(rearrange(mixed, "b (n h) t d -> b t n (h d)", h=self.heads))


def qk_norm(model: WorldModel) -> WorldModel:
    """Both attentions of every block normalise their queries and keys."""
    shape = {"width": model.config.width, "heads": model.config.heads}
    for block in blocks_of(model):
        block.space, block.time = QkNormSpatial(**shape), QkNormTemporal(**shape)
        for last in (block.space.out, block.time.out):
            nn.init.zeros_(last.weight)
    return model


def rms_norm(model: WorldModel) -> WorldModel:
    """Every LayerNorm becomes an RMSNorm: no mean taken off, no bias."""
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    for name in norms:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, nn.RMSNorm(model.config.width, eps=1e-5))
    return model


class OtherMlpBlock(Block):
    """A block with another function between the two matrices of its MLP."""

    def forward(
        self, x: Float[Tensor, "b t p d"], *, time: Time, cache: LayerCache | None = None
    ) -> Float[Tensor, "b t p d"]:
        """Refine the residual stream."""
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x), time=time, cache=cache)
        return x + self.contract(self.activate(self.expand(self.norm_mlp(x))))

    def activate(self, hidden: Float[Tensor, "*b e"]) -> Float[Tensor, "*b h"]:
        """What `contract` reads."""
        raise NotImplementedError


class SquaredReluBlock(OtherMlpBlock):
    """Squared ReLU (Primer; So et al. 2021)."""

    def activate(self, hidden: Float[Tensor, "*b e"]) -> Float[Tensor, "*b h"]:
        """The square of the positive part."""
        return F.relu(hidden).square()


class GatedBlock(OtherMlpBlock):
    """SwiGLU (Shazeer 2020) with the parameters of the ordinary MLP: two thirds of its channels."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__(config)
        hidden = max(8, round(2 / 3 * config.mlp_ratio * config.width / 8) * 8)
        self.expand = nn.Linear(config.width, 2 * hidden, bias=False)
        self.contract = nn.Linear(hidden, config.width, bias=False)
        nn.init.zeros_(self.contract.weight)

    def activate(self, hidden: Float[Tensor, "*b e"]) -> Float[Tensor, "*b h"]:
        """One half gates the other."""
        gate, value = hidden.chunk(2, dim=-1)
        return F.silu(gate) * value


def squared_relu(model: WorldModel) -> WorldModel:
    """Squared ReLU instead of GELU."""
    return replace_blocks(model, SquaredReluBlock)


def gated_mlp(model: WorldModel) -> WorldModel:
    """A gated MLP of as many parameters."""
    return replace_blocks(model, GatedBlock)


def normal_outputs(model: WorldModel) -> WorldModel:
    """Residual branches end in small normal numbers instead of zeros (GPT-2's scaling)."""
    for block in blocks_of(model):
        for last in (block.space.out, block.time.out, block.contract):
            nn.init.normal_(
                last.weight, std=(last.in_features * 3 * model.config.num_layers) ** -0.5
            )
    return model


class ControlMlp(nn.Module):
    """Controls enter through two layers instead of one, and through waves if asked.

    Waves: sines and cosines of every number at octaves of frequency (NeRF's encoding), which tell
    apart poses that hardly differ.
    """

    def __init__(self, config: WorldModelConfig, *, octaves: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi / 4 * 2.0 ** torch.arange(octaves))
        inputs = config.control_size * (1 + 2 * octaves)
        self.expand = nn.Linear(inputs, 4 * config.width)
        self.contract = nn.Linear(4 * config.width, config.width)

    def forward(self, controls: Float[Tensor, "b t c"]) -> Float[Tensor, "b t d"]:
        """One vector a row."""
        angles = controls.unsqueeze(-1) * self.get_buffer("frequencies")
        waves = torch.cat([controls.unsqueeze(-1), angles.sin(), angles.cos()], dim=-1)
        return self.contract(F.gelu(self.expand(waves.flatten(-2))))


def control_mlp(octaves: int) -> Callable[[WorldModel], WorldModel]:
    """Controls through an MLP."""

    def change(model: WorldModel) -> WorldModel:
        for branch in branches_of(model):
            control = ControlMlp(model.config, octaves=octaves)
            # As large as the other summands of a row.
            nn.init.normal_(control.contract.weight, std=(2 / model.config.width) ** 0.5)
            nn.init.zeros_(control.contract.bias)
            branch.embedding.control = cast(nn.Linear, control)
        return model

    return change
