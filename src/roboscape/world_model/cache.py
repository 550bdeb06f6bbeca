"""Keys and values of past timesteps: a preallocated ring buffer for every world of a batch.

Temporal attention is causal and spatial attention stays inside a frame, so what a past
timestep offered to later ones never changes. Slots are reused in turn; rotary keys carry their own
position, so the order of the slots does not matter. Worlds may have different ages: each has its
own position, slot and visible timesteps.
"""

import copy
import weakref
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from roboscape.world_model.config import WorldModelConfig

Turn = Literal["next", "again", "replace"]
"""What a pass does: `next` adds timesteps, `again` reads the newest once more and leaves no trace
(refinement inside a frame), `replace` puts another version of the newest in its place."""


@runtime_checkable
class LayerMemory(Protocol):
    """The earlier timesteps that one temporal attention reads."""

    @property
    def dtype(self) -> torch.dtype:
        """The format that keys and values are kept in."""
        ...

    def exchange(
        self, k: Float[Tensor, "b s t d"], v: Float[Tensor, "b s t d"]
    ) -> tuple[Float[Tensor, "b s k d"], Float[Tensor, "b s k d"]]:
        """Take the pass's own keys and values; return all that its queries may see."""
        ...


@runtime_checkable
class Memory(Protocol):
    """The earlier timesteps that all temporal attentions of a model read."""

    @property
    def layers(self) -> Sequence[Sequence[LayerMemory]]:
        """One entry a layer of each modality."""
        ...


class Cache:
    """The timesteps that every temporal attention of a model remembers, for a batch of worlds."""

    def __init__(
        self,
        config: WorldModelConfig,
        *,
        batch: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        by_index: bool | None = None,
    ) -> None:
        """Allocate empty buffers.

        Args:
            config: The model's shape.
            batch: Number of worlds.
            device: Where keys and values are kept.
            dtype: Their format.
            by_index: Whether single timesteps find their slots by tensors, which a CUDA graph can
                follow. Otherwise worlds of one age share a slot number, which is three times as
                fast on CPUs. Where not given: everywhere but on CPUs.
        """
        self.window = config.window
        # One slot more than the window: the last is scratch, for passes that leave no trace.
        sequences = config.patches_per_frame * config.heads
        shape = (2, batch, sequences, self.window + 1, config.head_size)
        self.layers: list[list[LayerCache]] = [
            [LayerCache(torch.zeros(shape, device=device, dtype=dtype), self) for _ in range(depth)]
            for depth in [config.num_layers] * config.modalities
        ]
        self.by_index = torch.device(device).type != "cpu" if by_index is None else by_index
        self.worlds = torch.arange(batch, device=device)
        """Numbers of the worlds."""
        self.slot_index = torch.zeros(batch, dtype=torch.long, device=device)
        """Place of each world's single timestep unless `slot` says it; always this tensor."""
        self.slot: int | None = None
        """Place of all worlds' single timestep; None where each has a slot of its own."""
        self.ages = [0] * batch
        """Timesteps that each world has taken, those that have left the window included."""
        self.positions = [0] * batch
        """First timestep of the pass under way, for each world; a single entry with `slot`."""
        self.turn: Turn = "next"
        """Kind of the pass under way."""
        self.is_prompt = False
        """Whether the pass under way has several timesteps, which see only each other."""

    def begin(self, turn: Turn, *, timesteps: int) -> None:
        """Announce a pass over so many timesteps of every world.

        Raises:
            ValueError: several timesteps for a world that has some, or nothing to read again.
        """
        several = timesteps > 1
        possible = not any(self.ages) if several else turn == "next" or all(self.ages)
        if not possible or (several and turn != "next"):
            raise ValueError(
                f"a cache whose worlds have {self.ages} timesteps cannot take turn `{turn}` with "
                f"{timesteps}: several timesteps start an empty cache, later ones come one by one"
            )
        self.turn, self.is_prompt = turn, several
        back = 0 if turn == "next" else 1
        alike = not self.by_index and len(set(self.ages)) == 1
        self.positions = [age - back for age in (self.ages[:1] if alike else self.ages)]
        slots = [self.window if turn == "again" else p % self.window for p in self.positions]
        self.slot = slots[0] if alike else None
        if not (alike or several):
            self.slot_index.copy_(torch.tensor(slots))

    def finish(self, *, timesteps: int) -> None:
        """Count the timesteps of a pass that is over."""
        if self.turn == "next":
            self.ages = [age + timesteps for age in self.ages]

    def visible(self) -> Bool[Tensor, "b slots"]:
        """Slots that each world's single timestep reads: those in its window, and its own.

        One row of the answer serves all worlds where they share a `slot`.
        """
        positions = torch.tensor(self.positions).unsqueeze(1)
        slots = torch.arange(self.window + 1)
        own = torch.full_like(positions, self.window)
        if self.turn != "again":
            own = positions % self.window
        seen = (slots < positions.clamp(max=self.window)) & (slots != positions % self.window)
        return seen | (slots == own)

    def take(self, index: Sequence[int]) -> "Cache":
        """A copy of some worlds, repeats allowed."""
        # What belongs to the pass under way is set anew by `begin`.
        taken = copy.copy(self)
        taken.worlds = torch.arange(len(index), device=self.worlds.device)
        taken.slot_index = torch.zeros_like(taken.worlds)
        taken.ages = [self.ages[world] for world in index]
        chosen = torch.tensor(index, dtype=torch.long, device=self.worlds.device)
        taken.layers = [
            [LayerCache(layer.buffer[:, chosen], taken) for layer in branch]
            for branch in self.layers
        ]
        return taken

    def put(self, worlds: Sequence[int], source: "Cache", index: Sequence[int]) -> None:
        """Overwrite some worlds by worlds `index` of another cache, in place."""
        to, of = (
            torch.tensor(numbers, dtype=torch.long, device=self.worlds.device)
            for numbers in (worlds, index)
        )
        for branch, others in zip(self.layers, source.layers, strict=True):
            for layer, other in zip(branch, others, strict=True):
                layer.buffer[:, to] = other.buffer[:, of]
        for world, other_world in zip(worlds, index, strict=True):
            self.ages[world] = source.ages[other_world]

    def clear(self) -> None:
        """Forget all timesteps; their memory is written again before it is read."""
        self.ages = [0] * len(self.ages)


class LayerCache:
    """The ring buffer of one temporal attention."""

    def __init__(self, buffer: Float[Tensor, "2 b s slots d"], cache: Cache) -> None:
        self.buffer = buffer
        # Not a reference: a cache would hold itself then, and its memory would be freed late.
        self.cache: Cache = weakref.proxy(cache)

    @property
    def dtype(self) -> torch.dtype:
        """The format that keys and values are kept in."""
        return self.buffer.dtype

    def exchange(
        self, k: Float[Tensor, "b s t d"], v: Float[Tensor, "b s t d"]
    ) -> tuple[Float[Tensor, "b s k d"], Float[Tensor, "b s k d"]]:
        """Put the pass's own keys and values in; get all that its queries may see.

        All are of the buffer's format.
        """
        keys, values = self.buffer
        cache = self.cache
        if cache.is_prompt:
            count, window = k.shape[2], cache.window
            kept = torch.arange(max(0, count - window), count, device=k.device)
            keys.index_copy_(2, kept % window, k[:, :, kept])
            values.index_copy_(2, kept % window, v[:, :, kept])
            return k, v
        if cache.slot is None:
            keys[cache.worlds, :, cache.slot_index] = k[:, :, 0]
            values[cache.worlds, :, cache.slot_index] = v[:, :, 0]
        else:
            keys[:, :, cache.slot], values[:, :, cache.slot] = k[:, :, 0], v[:, :, 0]
        return keys, values
