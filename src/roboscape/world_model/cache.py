"""Keys and values of past rows: a preallocated ring buffer.

Temporal attention is causal and spatial attention stays inside a frame, so what a past row offered
to later ones never changes. Slots are reused in turn; rotary keys carry their own position, so the
order of the slots does not matter.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from roboscape.world_model.config import WorldModelConfig

Turn = Literal["next", "again", "replace"]
"""What a pass does: `next` adds rows, `again` looks at the newest row once more and leaves no
trace (refinement inside a frame), `replace` puts another version of the newest row in its place."""


class Cache:
    """The rows that every temporal attention of a model remembers, for one batch of rollouts."""

    def __init__(
        self,
        config: WorldModelConfig,
        *,
        batch: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.window = config.window
        # One slot more than the window: the last is scratch, for passes that leave no trace.
        sequences = config.patches_per_frame * config.heads
        shape = (2, batch, sequences, self.window + 1, config.head_size)
        self.layers = [
            [LayerCache(torch.zeros(shape, device=device, dtype=dtype), self) for _ in range(depth)]
            for depth in [config.num_layers] * config.modalities
        ]
        self.slot_index = torch.zeros(1, dtype=torch.long, device=device)
        """Where a single row's keys and values go; a tensor, so that a recorded pass can follow."""
        self.by_index = torch.device(device).type != "cpu"
        """Whether passes find the slot by that tensor; by number is three times as fast on CPUs."""
        self.rows = 0
        """Rows taken so far, those that have left the window included."""
        self.turn: Turn = "next"
        """What the pass under way does."""

    @property
    def position(self) -> int:
        """Row that the pass under way starts at."""
        return self.rows if self.turn == "next" else self.rows - 1

    @property
    def slot(self) -> int:
        """Slot of the row that the pass under way is about."""
        return self.window if self.turn == "again" else self.position % self.window

    def begin(self, turn: Turn, *, rows: int) -> None:
        """Announce a pass over so many rows.

        Raises:
            ValueError: more than one row after the first pass, or nothing to look at again.
        """
        alone = rows == 1
        if (self.rows and not alone) or (turn != "next" and not (self.rows and alone)):
            raise ValueError(
                f"a cache with {self.rows} rows cannot take turn `{turn}` with {rows} rows: "
                "several rows start an empty cache, later ones come one by one"
            )
        self.turn = turn
        if not self.is_prompt:
            self.slot_index.fill_(self.slot)

    def finish(self, *, rows: int) -> None:
        """Count the rows of a pass that is over."""
        self.rows = self.position + rows

    @property
    def is_prompt(self) -> bool:
        """Whether the pass under way is the first, whose rows see only each other."""
        return self.position == 0 and self.turn == "next"

    def visible(self) -> Bool[Tensor, "1 slots"]:
        """The slots that a single row looks at: the rows in its window, and itself."""
        slots = torch.arange(self.window + 1)
        seen = slots < min(self.position, self.window)
        seen[self.position % self.window] = False
        seen[self.slot] = True
        return seen.unsqueeze(0)


class LayerCache:
    """The ring buffer of one temporal attention."""

    def __init__(self, buffer: Float[Tensor, "2 b s slots d"], cache: Cache) -> None:
        self.buffer = buffer
        self.cache = cache

    @property
    def dtype(self) -> torch.dtype:
        """The format that keys and values are kept in."""
        return self.buffer.dtype

    def exchange(
        self, k: Float[Tensor, "b s t d"], v: Float[Tensor, "b s t d"]
    ) -> tuple[Float[Tensor, "b s k d"], Float[Tensor, "b s k d"]]:
        """Put the pass's own keys and values in; get all that its queries may look at.

        All are of the buffer's format.
        """
        keys, values = self.buffer
        if self.cache.is_prompt:
            rows, window = k.shape[2], self.cache.window
            kept = torch.arange(max(0, rows - window), rows, device=k.device)
            keys.index_copy_(2, kept % window, k[:, :, kept])
            values.index_copy_(2, kept % window, v[:, :, kept])
            return k, v
        if self.cache.by_index:
            keys.index_copy_(2, self.cache.slot_index, k)
            values.index_copy_(2, self.cache.slot_index, v)
        else:
            keys[:, :, self.cache.slot], values[:, :, self.cache.slot] = k[:, :, 0], v[:, :, 0]
        return keys, values
