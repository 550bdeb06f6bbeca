"""Attention over the tokens of a frame, and over the rows of a token's position in time."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.core.attention import attend
from roboscape.world_model.cache import LayerCache
from roboscape.world_model.time import Time, rotate


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
    """Causal attention among the rows of one token position (section 2.3)."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "b t n d"], *, time: Time, cache: LayerCache | None = None
    ) -> Float[Tensor, "b t n d"]:
        """Mix rows within every token position; with a cache, with the rows remembered too."""
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
