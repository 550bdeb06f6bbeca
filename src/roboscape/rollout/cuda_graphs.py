"""A pass over one timestep, captured once as a CUDA graph and replayed: one launch, not thousands.

A CUDA graph repeats fixed operations on fixed memory, so the inputs, their place in time and their
slot in the cache are written into tensors that the graph reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.world_model.cache import Cache, Turn
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.timesteps import Time, time_of

T = TypeVar("T", ModelInputs, Time)
Features = tuple[Float[Tensor, "b 1 p d"], ...]
Capture = Callable[[Callable[[], Features]], tuple[Features, Callable[[], object]]]
"""Runs a function and returns its tensors, and what fills these very tensors again."""


def capture_cuda_graph(run: Callable[[], Features]) -> tuple[Features, Callable[[], object]]:
    """Warm up on a side stream, as capturing asks for, then capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        features = run()
    return features, graph.replay


@dataclass
class CapturedPass:
    """The memory that a captured pass reads and writes."""

    inputs: ModelInputs
    time: Time
    features: Features
    replay: Callable[[], object]


class CudaGraphPasses:
    """`WorldModel.features` for single timesteps, captured at the first of them."""

    def __init__(self, model: WorldModel, cache: Cache, *, capture: Capture) -> None:
        if not cache.by_index:
            raise UserError(
                "a CUDA graph finds a world's slot by tensors alone; make the cache with "
                "by_index=True"
            )
        self.model, self.cache, self.capture = model, cache, capture
        self.captured: CapturedPass | None = None

    def features(self, inputs: ModelInputs, *, turn: Turn) -> Features:
        """The same as the model's own; the result is overwritten by the next pass."""
        cache = self.cache
        cache.begin(turn, timesteps=1)
        time = time_of(self.model.config, 1, cache=cache, device=inputs.controls.device)
        if self.captured is None:
            self.captured = self._capture(inputs, time)
        else:
            fill(self.captured.inputs, inputs)
            fill(self.captured.time, time)
        self.captured.replay()
        cache.finish(timesteps=1)
        return self.captured.features

    def _capture(self, inputs: ModelInputs, time: Time) -> CapturedPass:
        inputs, time = cloned(inputs), cloned(time)
        features, replay = self.capture(lambda: self.model.run(inputs, time=time, cache=self.cache))
        return CapturedPass(inputs=inputs, time=time, features=features, replay=replay)


def cloned(tensors: T) -> T:
    """A dataclass of tensors with memory of its own."""
    present = {name: one for name, one in vars(tensors).items() if one is not None}
    return replace(tensors, **{name: one.clone() for name, one in present.items()})


def fill(target: object, source: object) -> None:
    """Copy a dataclass of tensors into another's memory; shapes must be equal.

    Raises:
        ValueError: a tensor of another shape than the captured one; copying would broadcast it.
    """
    for name, value in vars(source).items():
        if value is None:
            continue
        memory = getattr(target, name)
        if memory.shape != value.shape:
            raise UserError(
                f"a captured pass was made for `{name}` of shape {tuple(memory.shape)}, got "
                f"{tuple(value.shape)}; capture another for another batch"
            )
        memory.copy_(value)
