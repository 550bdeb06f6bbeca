"""What a process learns from in one step: its own clips, with the whole batch's randomness.

A step's rows follow from the seed and the step alone. However the batch is split over processes
and passes, every clip gets the same rows, and the pieces' losses add up to the whole batch's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from roboscape.clips.curriculum import Curriculum
from roboscape.core.seeding import generator_for, numpy_generator_for
from roboscape.tokens.store import TokenClip
from roboscape.training.learner import Piece
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.keypoints import Keypoints, select_keypoints
from roboscape.world_model.model import Rows, WorldModel
from roboscape.world_model.objective import (
    MaskingConfig,
    corrupted_rows,
    masked_rows,
    next_frame_rows,
    revealed_rows,
    self_predicted_rows,
)

Record = TypeVar("Record", "Batch", "SelfPrediction", Rows, Keypoints)


@dataclass(frozen=True, kw_only=True)
class SelfPrediction:
    """Clips whose previous frames the model is to predict itself, before they are corrupted."""

    rows: Rows
    """Of all clips that share a draw: corruption takes frames from any of them."""
    coordinates: tuple[int, ...]
    """Where the draw's randomness comes from."""
    kept: slice
    """The clips of the piece."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training rows of some clips. Axes: b clip, n token."""

    number: int
    """The step's."""
    rows: Rows
    first: Int[Tensor, "b n"]
    """RGB codes of the clips' first frame."""
    keypoints: Keypoints
    self_predicted: tuple[SelfPrediction, ...] = ()
    """Where the rows' previous frames are still to be made."""


@runtime_checkable
class Draws(Protocol):
    """What a run says about its batches."""

    @property
    def seed(self) -> int:
        """Where all randomness comes from."""
        ...

    @property
    def batch_size(self) -> int:
        """Clips a step, of all processes together."""
        ...

    @property
    def draw_size(self) -> int:
        """Clips that share one draw; 0 for the whole batch."""
        ...

    @property
    def masking(self) -> MaskingConfig:
        """How training rows are made."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """Makes the pieces of one process."""

    config: Draws
    model: WorldModelConfig
    keypoints: int
    """K."""
    clips: int
    """To draw from."""
    read: Callable[[Int[np.ndarray, " b"]], TokenClip]
    rank: int = 0
    size: int = 1
    """Processes."""
    accumulate: int = 1
    """Pieces that each process's share of a step is cut into."""
    curriculum: Curriculum | None = None
    """Chooses the clips of a step; without one, all are drawn alike."""

    def __post_init__(self) -> None:
        """Refuse pieces without a clip."""
        if self.config.batch_size < self.size * self.accumulate:
            raise ValueError(
                f"a batch of {self.config.batch_size} clips is too few for {self.size} processes "
                f"x {self.accumulate} passes; raise --batch-size or lower --accumulate"
            )

    def pieces(self, number: int) -> list[Piece]:
        """This process's pieces of step `number`."""
        config = self.config
        indices = self.chosen(number)
        bounds = np.linspace(0, config.batch_size, self.size * self.accumulate + 1).astype(int)
        mine = bounds[self.rank * self.accumulate :][: self.accumulate + 1].tolist()
        drawn: dict[int, tuple[Batch, SelfPrediction | None]] = {}
        return [
            self.piece(number, indices, first=first, end=end, drawn=drawn)
            for first, end in pairwise(mine)
        ]

    def chosen(self, number: int) -> Int[np.ndarray, " b"]:
        """The clips of step `number`, of all processes together."""
        size = self.config.batch_size
        if self.curriculum:
            return self.curriculum.sample(number, size=size)
        return numpy_generator_for(self.config.seed, number).integers(self.clips, size=size)

    def piece(
        self,
        number: int,
        indices: Int[np.ndarray, " b"],
        *,
        first: int,
        end: int,
        drawn: dict[int, tuple[Batch, SelfPrediction | None]],
    ) -> Piece:
        """Clips `first` to `end` of the batch, out of the draws that hold them."""
        size = self.config.draw_size or self.config.batch_size
        parts, predictions = [], []
        for draw in range(first // size, (end - 1) // size + 1):
            if draw not in drawn:
                drawn[draw] = self.draw(number, draw, indices[draw * size : (draw + 1) * size])
            batch, prediction = drawn[draw]
            kept = slice(max(first - draw * size, 0), min(end - draw * size, size))
            parts.append(select(batch, kept))
            predictions += [replace(prediction, kept=kept)] if prediction else []
        batch = replace(join(parts), self_predicted=tuple(predictions))
        return Piece(content=batch, counts=count_targets(batch))

    def draw(
        self, number: int, draw: int, indices: Int[np.ndarray, " b"]
    ) -> tuple[Batch, SelfPrediction | None]:
        """Rows of all clips that share a draw: what is revealed, corrupted and self-predicted."""
        masking, clip = self.config.masking, self.read(indices)
        coordinates = (self.config.seed, number, *([draw] if self.config.draw_size else []))
        generator = generator_for(*coordinates)
        keypoints = select_keypoints(
            clip.tracks, clip.visible, count=self.keypoints, grid=self.model.grid
        )
        tokens = tokens_of(clip, modalities=self.model.modalities)
        first, prediction = clip.rgb[:, 0].long(), None
        if self.model.objective == "masked":
            rows = masked_rows(tokens, clip.controls, generator=generator)
            return Batch(number=number, rows=rows, first=first, keypoints=keypoints), None
        rows = next_frame_rows(tokens, clip.controls)
        chance = torch.rand((), generator=generator).item()
        if chance < masking.self_predicted and number >= masking.self_predicted_after:
            prediction = SelfPrediction(rows=rows, coordinates=coordinates, kept=slice(None))
        rows = corrupted_rows(rows, largest_rate=masking.corruption, generator=generator)
        rows = revealed_rows(rows, fully_hidden=masking.fully_hidden, generator=generator)
        return Batch(number=number, rows=rows, first=first, keypoints=keypoints), prediction


def self_predict(model: WorldModel, batch: Batch, *, corruption: float) -> Rows:
    """The batch's rows, with previous frames as the model predicts them, where asked for."""
    if not batch.self_predicted:
        return batch.rows
    previous = []
    for prediction in batch.self_predicted:
        generator = generator_for(*prediction.coordinates)
        # The draw that decided on this step comes first.
        torch.rand((), generator=generator)
        rows = self_predicted_rows(model, prediction.rows)
        rows = corrupted_rows(rows, largest_rate=corruption, generator=generator)
        assert rows.previous is not None
        previous.append(rows.previous[:, prediction.kept])
    return replace(batch.rows, previous=torch.cat(previous, dim=1))


def tokens_of(clip: TokenClip, *, modalities: int) -> Int[Tensor, "m b t n"]:
    """RGB and, for two modalities, depth codes, stacked."""
    return torch.stack([clip.rgb, clip.depth][:modalities])


def count_targets(batch: Batch) -> tuple[float, ...]:
    """What the terms of Eq. 8 are means over: hidden RGB and depth tokens, and hidden keypoints."""
    hidden, count = batch.rows.hidden, batch.rows.controls.shape[1]
    cells, valid = (x[:, -count:] for x in (batch.keypoints.cells, batch.keypoints.valid))
    points = (valid & hidden[0].gather(2, cells)).sum().item()
    return float(hidden[0].sum()), float(hidden[-1].sum()), float(points)


def select(batch: Batch, kept: slice) -> Batch:
    """Some clips of a batch."""
    rows, keypoints = batch.rows, batch.keypoints
    return Batch(
        number=batch.number,
        rows=Rows(
            previous=None if rows.previous is None else rows.previous[:, kept],
            current=rows.current[:, kept],
            hidden=rows.hidden[:, kept],
            controls=rows.controls[kept],
        ),
        first=batch.first[kept],
        keypoints=Keypoints(cells=keypoints.cells[kept], valid=keypoints.valid[kept]),
    )


def join(batches: Sequence[Batch]) -> Batch:
    """Batches one after the other."""
    if len(batches) == 1:
        return batches[0]
    rows = [batch.rows for batch in batches]
    previous = [r.previous for r in rows if r.previous is not None]
    points = [batch.keypoints for batch in batches]
    return Batch(
        number=batches[0].number,
        rows=Rows(
            previous=torch.cat(previous, dim=1) if previous else None,
            current=torch.cat([r.current for r in rows], dim=1),
            hidden=torch.cat([r.hidden for r in rows], dim=1),
            controls=torch.cat([r.controls for r in rows]),
        ),
        first=torch.cat([batch.first for batch in batches]),
        keypoints=Keypoints(
            cells=torch.cat([p.cells for p in points]), valid=torch.cat([p.valid for p in points])
        ),
    )


def moved(record: Record, device: str) -> Record:
    """A record of tensors, records and tuples of records, on a device."""
    if device == "cpu":
        return record
    return replace(record, **{f.name: value_moved(record, f.name, device) for f in fields(record)})


def value_moved(record: Any, name: str, device: str) -> Any:
    """One entry of a record, on a device."""
    value = getattr(record, name)
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Rows | Keypoints):
        # pyright takes a union for neither of its members here.
        return moved(cast(Rows, value), device)
    if name == "self_predicted":
        return tuple(moved(one, device) for one in value)
    return value
