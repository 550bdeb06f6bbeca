"""A rank's batch of one step: its own clips, with the whole batch's randomness.

A step's inputs follow from the seed and the step alone. However the batch is split over ranks and
microbatches, every clip gets the same inputs, and the losses add up to the whole batch's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.clips.curriculum import Curriculum
from roboscape.core.errors import UserError
from roboscape.core.seeding import generator_for, numpy_generator_for
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.store import TokenClip
from roboscape.training.learner import Microbatch
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.keypoints import Keypoints, select_keypoints
from roboscape.world_model.losses import LossConfig, Targets
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.objective import (
    MaskingConfig,
    corrupted_inputs,
    next_frame_inputs,
    objective_of,
    self_predicted_inputs,
    without_views,
)

Value = TypeVar("Value")

WITHOUT_TASK, PASSES = 0x7A5C, 0x5E1F
"""Last coordinates of two draws: of the clips that are not given their task, and of how many passes
predict a draw's pasts."""


@dataclass(frozen=True, kw_only=True)
class SelfPrediction:
    """Clips whose previous frames the model is to predict itself, before they are corrupted."""

    inputs: ModelInputs
    """Of all clips that share a draw: corruption takes frames from any of them."""
    coordinates: tuple[int, ...]
    """Where the draw's randomness comes from."""
    kept: slice
    """The clips of the draw that are in the microbatch."""
    place: slice
    """Where they are in the microbatch."""
    passes: int = 1
    """Passes that predict them, each from what the one before gave."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some clips to learn from."""

    step: int
    """Number of the step."""
    targets: Targets
    self_predicted: tuple[SelfPrediction, ...] = ()
    """Where previous frames are still to be predicted."""


@runtime_checkable
class Draws(Protocol):
    """The settings of a run from which its batches are drawn."""

    @property
    def seed(self) -> int:
        """The seed of all randomness."""
        ...

    @property
    def batch_size(self) -> int:
        """Clips a step, of all ranks together."""
        ...

    @property
    def draw_size(self) -> int:
        """Clips that share one draw; 0 for the whole batch."""
        ...

    @property
    def masking(self) -> MaskingConfig:
        """The masking."""
        ...

    @property
    def loss(self) -> LossConfig:
        """The loss terms, and the number of keypoints."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """Makes the microbatches of one rank."""

    config: Draws
    model: WorldModelConfig
    clips: int
    """To draw from."""
    read: Callable[[Int[np.ndarray, " b"]], TokenClip]
    rank: int = 0
    size: int = 1
    """Number of ranks."""
    accumulate: int = 1
    """Microbatches that each rank's share of a step is cut into."""
    curriculum: Curriculum | None = None
    """Chooses the clips of a step; without one, all are drawn alike."""
    task_size: int = 0
    """Numbers at the end of a control signal that are the task's vector."""

    def __post_init__(self) -> None:
        """Raise `UserError` for microbatches without a clip."""
        if self.config.batch_size < self.size * self.accumulate:
            raise UserError(
                f"a batch of {self.config.batch_size} clips is too few for {self.size} processes "
                f"x {self.accumulate} passes; raise --batch-size or lower --accumulate"
            )

    def microbatches(self, step: int) -> list[Microbatch]:
        """This rank's microbatches of a step."""
        config = self.config
        indices = self.chosen(step)
        bounds = np.linspace(0, config.batch_size, self.size * self.accumulate + 1).astype(int)
        mine = bounds[self.rank * self.accumulate :][: self.accumulate + 1].tolist()
        drawn: dict[int, Batch] = {}
        return [
            self.microbatch(step, indices, first=first, end=end, drawn=drawn)
            for first, end in pairwise(mine)
        ]

    def chosen(self, step: int) -> Int[np.ndarray, " b"]:
        """The clips of a step, of all ranks together."""
        size = self.config.batch_size
        if self.curriculum:
            return self.curriculum.sample(step, size=size)
        return numpy_generator_for(self.config.seed, step).integers(self.clips, size=size)

    def microbatch(
        self,
        step: int,
        indices: Int[np.ndarray, " b"],
        *,
        first: int,
        end: int,
        drawn: dict[int, Batch],
    ) -> Microbatch:
        """Clips `first` to `end` of the batch, out of the draws that hold them."""
        size = self.config.draw_size or self.config.batch_size
        parts, predictions = [], []
        for draw in range(first // size, (end - 1) // size + 1):
            start = draw * size
            if draw not in drawn:
                drawn[draw] = self.draw(step, draw, indices[start : start + size])
            kept = slice(max(first - start, 0), min(end - start, size))
            place = slice(start + kept.start - first, start + kept.stop - first)
            parts.append(select(drawn[draw].targets, kept))
            predictions += [
                replace(one, kept=kept, place=place) for one in drawn[draw].self_predicted
            ]
        targets = join(parts)
        terms = objective_of(self.model).loss_terms(targets, self.config.loss)
        return Microbatch(
            content=Batch(step=step, targets=targets, self_predicted=tuple(predictions)),
            counts={name: float(term.count) for name, term in terms.items()},
        )

    def draw(self, step: int, draw: int, indices: Int[np.ndarray, " b"]) -> Batch:
        """All clips that share a draw: what is masked, corrupted and self-predicted."""
        masking, clip = self.config.masking, self.read(indices)
        coordinates = (self.config.seed, step, *([draw] if self.config.draw_size else []))
        generator = generator_for(*coordinates)
        objective = objective_of(self.model)
        tokens = tokens_of(clip, modalities=self.model.modalities)
        controls = self.some_untold(clip.controls, coordinates)
        predicts = objective.self_predicts(step, masking=masking, generator=generator)
        whole = slice(0, len(indices))
        prediction = SelfPrediction(
            inputs=next_frame_inputs(tokens, controls),
            coordinates=coordinates,
            kept=whole,
            place=whole,
            passes=passes_of(coordinates, most=masking.self_predicted_passes),
        )
        inputs = objective.training_inputs(tokens, controls, masking=masking, generator=generator)
        if self.model.cameras > 1 and inputs.previous is not None:
            inputs = without_views(
                inputs,
                cameras=self.model.cameras,
                share=masking.missing_view,
                generator=generator,
            )
        targets = Targets(
            inputs=inputs,
            first=clip.rgb[:, 0].long(),
            keypoints=select_keypoints(
                clip.tracks,
                clip.visible,
                count=self.config.loss.keypoints,
                grid=self.model.grid,
                cameras=self.model.cameras,
            ),
        )
        return Batch(step=step, targets=targets, self_predicted=(prediction,) if predicts else ())

    def some_untold(
        self, controls: Float[Tensor, "b t c"], coordinates: tuple[int, ...]
    ) -> Float[Tensor, "b t c"]:
        """Control signals, in some clips without the task (zeros: no task is given)."""
        if not self.task_size:
            return controls
        # Numbers of its own: what is masked does not depend on whether there are tasks.
        generator = generator_for(*coordinates, WITHOUT_TASK)
        dropped = torch.rand(len(controls), generator=generator) < self.config.masking.task_dropped
        changed = controls.clone()
        changed[dropped, :, -self.task_size :] = 0
        return changed


def passes_of(coordinates: tuple[int, ...], *, most: int) -> int:
    """The number of passes that predict the pasts of a draw: each up to the most equally often."""
    return int(torch.randint(1, most + 1, (), generator=generator_for(*coordinates, PASSES)))


def self_predict(model: WorldModel, batch: Batch, *, corruption: float) -> Targets:
    """The batch's targets, with previous frames as the model predicts them where asked for."""
    inputs = batch.targets.inputs
    if not batch.self_predicted or inputs.previous is None:
        return batch.targets
    previous = inputs.previous.clone()
    for one in batch.self_predicted:
        generator = generator_for(*one.coordinates)
        # The draw that decided on this step comes first.
        torch.rand((), generator=generator)
        predicted = one.inputs
        for _ in range(one.passes):
            predicted = self_predicted_inputs(model, predicted)
        predicted = corrupted_inputs(predicted, largest_rate=corruption, generator=generator)
        assert predicted.previous is not None
        previous[:, one.place] = predicted.previous[:, one.kept]
    previous = torch.where(inputs.previous == MISSING, MISSING, previous)
    return replace(batch.targets, inputs=replace(inputs, previous=previous))


def tokens_of(clip: TokenClip, *, modalities: int) -> Int[Tensor, "m b t n"]:
    """RGB and, for two modalities, depth codes, stacked.

    Raises:
        ValueError: two modalities are asked for, and the clip has no depth.
    """
    if modalities == 1:
        return clip.rgb.unsqueeze(0)
    if clip.depth is None:
        raise UserError(
            "a model with a depth branch needs clips with depth, and these have none; tokenize "
            "with depth, or use a model with branches `rgb`"
        )
    return torch.stack([clip.rgb, clip.depth])


def select(targets: Targets, kept: slice) -> Targets:
    """Some clips."""
    inputs, keypoints = targets.inputs, targets.keypoints
    return Targets(
        inputs=ModelInputs(
            previous=None if inputs.previous is None else inputs.previous[:, kept],
            current=inputs.current[:, kept],
            masked=inputs.masked[:, kept],
            controls=inputs.controls[kept],
        ),
        first=targets.first[kept],
        keypoints=Keypoints(cells=keypoints.cells[kept], valid=keypoints.valid[kept]),
    )


def join(parts: Sequence[Targets]) -> Targets:
    """Clips one after the other."""
    inputs = [part.inputs for part in parts]
    previous = [one.previous for one in inputs if one.previous is not None]
    return Targets(
        inputs=ModelInputs(
            previous=torch.cat(previous, dim=1) if previous else None,
            current=torch.cat([one.current for one in inputs], dim=1),
            masked=torch.cat([one.masked for one in inputs], dim=1),
            controls=torch.cat([one.controls for one in inputs]),
        ),
        first=torch.cat([part.first for part in parts]),
        keypoints=Keypoints(
            cells=torch.cat([part.keypoints.cells for part in parts]),
            valid=torch.cat([part.keypoints.valid for part in parts]),
        ),
    )


def moved(value: Value, device: str) -> Value:
    """A tensor, or all tensors in a record or tuple, on a device."""
    found: Any = value
    if isinstance(value, Tensor):
        found = value.to(device, non_blocking=True)
    elif isinstance(value, tuple):
        found = tuple(moved(one, device) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: moved(getattr(value, f.name), device) for f in fields(value)}
        found = replace(value, **parts)
    return found
