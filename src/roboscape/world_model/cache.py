"""Keys and values of past rows: a preallocated ring buffer.

Temporal attention is causal and spatial attention stays inside a frame, so what a past row offered
to later ones never changes. Slots are reused in turn; rotary keys carry their own position, so the
order of the slots does not matter.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from roboscape.world_model.config import WorldModelConfig


class Cache:
    """Rows remembered by every temporal attention of a model, for one batch of rollouts.

    One slot more than the window: the last is scratch, for passes that must leave no trace
    (refinement inside a frame).
    """

    def __init__(
        self,
        config: WorldModelConfig,
        *,
        batch: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.window = config.window
        sequences = config.tokens_per_frame * config.heads
        shape = (2, batch, sequences, self.window + 1, config.head_size)
        self.layers = [
            [LayerCache(torch.zeros(shape, device=device, dtype=dtype), self) for _ in range(depth)]
            for depth in [config.depth] * config.modalities
        ]
        self.rows = 0
        """Rows kept so far, those that have left the window included."""
        self.keep = True
        """Whether the pass under way is remembered."""

    def visible(self) -> Bool[Tensor, "1 slots"]:
        """The slots that the next single row looks at: the rows in its window and itself."""
        slots = torch.arange(self.window + 1)
        past = slots < min(self.rows, self.window)
        past[self.rows % self.window] = False
        return (past | (slots == self.own_slot)).unsqueeze(0)

    @property
    def own_slot(self) -> int:
        """Where the next row's keys and values go."""
        return self.rows % self.window if self.keep else self.window


class LayerCache:
    """The ring buffer of one temporal attention."""

    def __init__(self, buffer: Float[Tensor, "2 b s slots d"], cache: Cache) -> None:
        self.buffer = buffer
        self.cache = cache

    def exchange(
        self, k: Float[Tensor, "b s t d"], v: Float[Tensor, "b s t d"]
    ) -> tuple[Float[Tensor, "b s k d"], Float[Tensor, "b s k d"]]:
        """Put the pass's own keys and values in; get all that its queries may look at.

        Several rows at once are a prompt, which starts an empty cache: they see each other, and the
        last `window` of them are kept.
        """
        rows, window = k.shape[2], self.cache.window
        if self.cache.rows == 0 and self.cache.keep:
            kept = min(rows, window)
            slots = torch.arange(rows - kept, rows, device=k.device) % window
            self.buffer[0][:, :, slots] = k[:, :, -kept:].to(self.buffer.dtype)
            self.buffer[1][:, :, slots] = v[:, :, -kept:].to(self.buffer.dtype)
            return k, v
        assert rows == 1, f"a cache that holds rows takes one at a time, got {rows}"
        slot = self.cache.own_slot
        self.buffer[0][:, :, slot] = k[:, :, 0].to(self.buffer.dtype)
        self.buffer[1][:, :, slot] = v[:, :, 0].to(self.buffer.dtype)
        keys, values = self.buffer.to(k.dtype)
        return keys, values
