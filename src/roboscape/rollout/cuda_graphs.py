"""A pass over one row, recorded once and replayed: one launch on a GPU instead of thousands.

A CUDA graph repeats fixed operations on fixed memory, so the row, its place in time and its slot in
the cache are written into tensors that the recording reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.world_model.cache import Cache, Turn
from roboscape.world_model.model import ModelInputs, Time, WorldModel

T = TypeVar("T", ModelInputs, Time)
Features = tuple[Float[Tensor, "b 1 p d"], ...]
Recorder = Callable[[Callable[[], Features]], tuple[Features, Callable[[], object]]]
"""Runs a function and returns its tensors, and what fills these very tensors again."""


def record_cuda_graph(run: Callable[[], Features]) -> tuple[Features, Callable[[], object]]:
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
class Recording:
    """The memory that a recorded pass reads and writes."""

    rows: ModelInputs
    time: Time
    features: Features
    replay: Callable[[], object]


class RecordedPasses:
    """`WorldModel.features` for single rows after a prompt, recorded at the first of them."""

    def __init__(self, model: WorldModel, cache: Cache, *, record: Recorder) -> None:
        if model.config.time_position == "learned":
            raise ValueError(
                "a model with a learned time table cannot be recorded: its table is read at a "
                "place that changes; use time_position `rotary`"
            )
        self.model, self.cache, self.record = model, cache, record
        self.recording: Recording | None = None

    def features(self, rows: ModelInputs, *, turn: Turn) -> Features:
        """The same as the model's own; the result is overwritten by the next pass."""
        cache = self.cache
        cache.begin(turn, rows=1)
        time = self.model.time_of(cache.position, 1, cache=cache, device=rows.controls.device)
        if self.recording is None:
            self.recording = self._record(rows, time)
        else:
            fill(self.recording.rows, rows)
            fill(self.recording.time, time)
        self.recording.replay()
        cache.finish(rows=1)
        return self.recording.features

    def _record(self, rows: ModelInputs, time: Time) -> Recording:
        rows, time = cloned(rows), cloned(time)
        features, replay = self.record(
            lambda: self.model.run(rows, time=time, first_row=0, cache=self.cache)
        )
        return Recording(rows=rows, time=time, features=features, replay=replay)


def cloned(tensors: T) -> T:
    """A dataclass of tensors with memory of its own."""
    present = {name: one for name, one in vars(tensors).items() if one is not None}
    return replace(tensors, **{name: one.clone() for name, one in present.items()})


def fill(target: object, source: object) -> None:
    """Copy a dataclass of tensors into another's memory."""
    for name, value in vars(source).items():
        if value is not None:
            getattr(target, name).copy_(value)
