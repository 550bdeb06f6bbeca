"""From recorded or chosen actions to what a world model takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from roboscape.controls.proprioception import ArmState, Proprioception
from roboscape.controls.signals import (
    commanded_motion,
    commanded_signals,
    control_size,
    imagined_signals,
)
from roboscape.controls.task_text import task_vectors
from roboscape.core.config import load_config, save_config
from roboscape.core.errors import UserError
from roboscape.core.pretrained import resolve
from roboscape.dataset.records import ActionConvention

STATISTICS, PROPRIOCEPTION = "controls.json", "proprioception"


@dataclass(frozen=True, kw_only=True)
class ControlStatistics:
    """The statistics that scale control signals for a model; measured on the training split."""

    convention: ActionConvention
    """What the actions mean."""
    stride: int
    """Native rows between two frames."""
    state_size: int
    """Proprioception's dimensions."""
    imagined_state: bool = False
    """Whether signals hold the state that the commands bring the arm to (`imagined_signals`)."""
    mean: tuple[float, ...]
    """Of every dimension of a control signal."""
    std: tuple[float, ...]
    """Of every dimension; 1 where a dimension never changes."""
    task_size: int = 0
    """Length of the task's vector (`task_text`), which follows a signal as it is; 0: none."""

    def __post_init__(self) -> None:
        """Refuse statistics of other signals than the convention's."""
        if self.task_size < 0:
            raise UserError(f"task_size must be 0 or more, got {self.task_size}")
        size = control_size(
            self.convention,
            stride=self.stride,
            state_size=self.state_size,
            imagined_state=self.imagined_state,
        )
        if not len(self.mean) == len(self.std) == size:
            raise UserError(
                f"control signals of this convention at stride {self.stride} have {size} "
                f"dimensions; got {len(self.mean)} means and {len(self.std)} deviations"
            )

    def inputs(
        self, signals: Float[Tensor, "b t c"], task: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b t i"]:
        """Signals as a model takes them: normalised, then the task's vector in every frame."""
        text = task.unsqueeze(1).expand(-1, signals.shape[1], -1)
        return torch.cat([self.normalize(signals), text], dim=-1)

    def task_vectors(self, task: Sequence[str] | None, *, worlds: int) -> Float[Tensor, "b k"]:
        """The vector of each world's task; not read where models have no task."""
        texts = task if task and self.task_size else [""] * worlds
        return task_vectors(texts, size=self.task_size)

    def normalize(self, signals: Float[Tensor, "*b t c"]) -> Float[Tensor, "*b t c"]:
        """Zero mean, unit deviation.

        Without an imagined state the signal of frame 0 stays zeros: no action led into it.
        """
        mean, std = signals.new_tensor(self.mean), signals.new_tensor(self.std)
        normalized = (signals - mean) / std
        if not self.imagined_state:
            normalized[..., 0, :] = 0
        return normalized


@dataclass(frozen=True)
class ControlEncoder:
    """Makes a world model's control inputs from actions and the state that they begin in."""

    statistics: ControlStatistics
    proprioception: Proprioception | None = None
    """Predicts the states that commands lead to; None: signals hold the sum of the commands."""

    def __post_init__(self) -> None:
        """Refuse statistics of the other kind of signal."""
        if self.statistics.imagined_state != (self.proprioception is not None):
            raise UserError(
                "control statistics with an imagined state and a proprioception model belong "
                f"together; got imagined_state={self.statistics.imagined_state} and "
                f"{'a' if self.proprioception else 'no'} model"
            )

    @property
    def convention(self) -> ActionConvention:
        """The meaning of the actions."""
        return self.statistics.convention

    @property
    def stride(self) -> int:
        """Native rows between two frames."""
        return self.statistics.stride

    @property
    def size(self) -> int:
        """Length of one control signal."""
        return len(self.statistics.mean) + self.statistics.task_size

    def encode(
        self,
        actions: Float[np.ndarray, "b n a"],
        first_state: Float[np.ndarray, "b s"],
        *,
        state_before: Float[np.ndarray, "b s"] | None = None,
        task: Sequence[str] | None = None,
        objects: Float[np.ndarray, "b o"] | None = None,
    ) -> Float32[Tensor, "b t c"]:
        """Control signals of frames 0 to n // stride.

        Args:
            actions: At the native rate, stored units.
            first_state: Proprioception at frame 0; empty (b, 0) where there is none.
            state_before: One native row earlier, for the speed of the arm at frame 0; without
                it the arm is taken to be at rest.
            task: What is to be done, one text a world; empty where none is given. Not read where
                the statistics have no task.
            objects: Positions of objects at frame 0, for an arm model that takes them; NaN, or none
                given: unknown.
        """
        stream = self.stream()
        first = stream.reset(first_state, state_before=state_before, task=task, objects=objects)
        return torch.cat([first.unsqueeze(1), stream.advance(actions)], dim=1)

    @property
    def object_names(self) -> tuple[str, ...]:
        """Names of the coordinates of objects that the arm model takes at a start."""
        return () if self.proprioception is None else self.proprioception.config.object_names

    def stream(self) -> "ControlStream":
        """Control signals step by step; `encode` is all steps at once."""
        return ControlStream(self)

    def save(self, folder: Path) -> None:
        """Write `controls.json` and, where there is one, the model's folder."""
        if self.proprioception is not None:
            self.proprioception.save_pretrained(folder / PROPRIOCEPTION)
        save_config(self.statistics, folder / STATISTICS)

    @classmethod
    def load(cls, name: str | Path) -> "ControlEncoder":
        """Inverse of `save`; a folder or a hub repository."""
        folder = resolve(name)
        if not (folder / STATISTICS).is_file():
            raise UserError(f"{folder} holds no {STATISTICS}; expected the folder of a checkpoint")
        return cls.of(load_config(ControlStatistics, folder / STATISTICS), folder)

    @classmethod
    def of(cls, statistics: ControlStatistics, folder: Path) -> "ControlEncoder":
        """With the model that lies in a folder, where the statistics want one."""
        if not statistics.imagined_state:
            return cls(statistics)
        return cls(statistics, Proprioception.from_pretrained(folder, subfolder=PROPRIOCEPTION))


@dataclass(frozen=True, kw_only=True)
class ControlState:
    """The past of some worlds on which control signals depend, besides the actions to come."""

    state: Float32[Tensor, "b s"]
    """With an arm model: where the arm is, stored units. Else the first state."""
    moved: Float64[Tensor, "b a"]
    """Commanded since the first frame, physical units; zeros where no signal holds it."""
    hidden: Float32[Tensor, "b w"]
    """The arm model's recurrent state; of width 0 without one."""
    normalized: Float32[Tensor, "b n"]
    """The arm model's own copy of the state, and the objects that it imagines, in deviations; of
    width 0 without one."""
    task: Float32[Tensor, "b k"]
    """Vector of the task; zeros where none was given, of width 0 where signals hold no task."""

    def take(self, index: Sequence[int]) -> "ControlState":
        """Some worlds, repeats allowed."""
        return ControlState(**{name: value[list(index)] for name, value in vars(self).items()})

    def replaced(self, worlds: Sequence[int], other: "ControlState") -> "ControlState":
        """The same, but for some worlds the other's."""
        changed = {name: value.clone() for name, value in vars(self).items()}
        for name, value in changed.items():
            value[list(worlds)] = getattr(other, name)
        return ControlState(**changed)


class ControlStream:
    """Control signals of a batch of worlds, step by step, and where the arm is.

    Each world has its own past; the batch is as large as the last `reset` of all, or `restore`.
    """

    def __init__(self, encoder: ControlEncoder) -> None:
        self.encoder = encoder
        self._memory: ControlState | None = None

    @property
    def state(self) -> Float32[np.ndarray, "b s"] | None:
        """Imagined proprioception of every world, stored units.

        None without an arm model: the sum of the commands is no state.
        """
        return None if self.encoder.proprioception is None else self.snapshot().state.numpy()

    @torch.no_grad()
    def reset(
        self,
        first_state: Float[np.ndarray, "b s"],
        *,
        state_before: Float[np.ndarray, "b s"] | None = None,
        task: Sequence[str] | None = None,
        objects: Float[np.ndarray, "b o"] | None = None,
        worlds: Sequence[int] | None = None,
    ) -> Float32[Tensor, "b c"]:
        """Begin anew: all worlds, or some while the others stay; arguments as in `encode`.

        Returns:
            The signals of the worlds' first frames, which no action led into.

        Raises:
            ValueError: states of another size than the statistics', or not one text a world.
        """
        size = self.encoder.statistics.state_size
        if first_state.shape[1] != size:
            raise UserError(
                f"expected a state of {size} numbers, as in training, got {first_state.shape[1]}"
            )
        if task is not None and len(task) != len(first_state):
            raise UserError(f"expected a task for each of {len(first_state)} worlds, got {task}")
        begun = self._begin(
            first_state,
            first_state if state_before is None else state_before,
            task=task,
            objects=objects,
        )
        self._memory = begun if worlds is None else self.snapshot().replaced(worlds, begun)
        nothing = np.zeros((len(first_state), 0, len(self.encoder.convention.names)))
        return self._signals(begun, nothing, states=[])[:, 0]

    @torch.no_grad()
    def advance(self, actions: Float[np.ndarray, "b n a"]) -> Float32[Tensor, "b t c"]:
        """The signals of the next n // stride frames.

        Args:
            actions: At the native rate, stored units; those that do not fill a stride are left out.
        """
        memory = self.snapshot()
        frames = actions.shape[1] // self.encoder.stride
        actions = actions[:, : frames * self.encoder.stride]
        if not frames:
            return torch.zeros(len(actions), 0, self.encoder.size)
        model, states = self.encoder.proprioception, []
        after = {"moved": self._motion(memory, actions)}
        if model is not None:
            arm = ArmState(hidden=memory.hidden, state=memory.normalized)
            arm, imagined = model.advance(arm, torch.as_tensor(actions, dtype=torch.float32))
            states = [model.stored_units(imagined)]
            after |= {"state": states[0][:, -1], "hidden": arm.hidden, "normalized": arm.state}
        self._memory = replace(memory, **after)
        return self._signals(memory, actions, states=states)[:, 1:]

    def step(self, actions: Float[np.ndarray, "b stride a"]) -> Float32[Tensor, "b c"]:
        """The signal of the next frame."""
        return self.advance(actions)[:, 0]

    def snapshot(self) -> ControlState:
        """All that the signals to come depend on; stepping leaves it alone.

        Raises:
            ValueError: before the first `reset`.
        """
        if self._memory is None:
            raise UserError("no control signals before the first state; call `reset` first")
        return self._memory

    def restore(self, state: ControlState, *, worlds: Sequence[int] | None = None) -> None:
        """Go on from a snapshot (`ControlState.take` chooses worlds of it); some worlds, or all."""
        self._memory = state if worlds is None else self.snapshot().replaced(worlds, state)

    def _begin(
        self,
        state: Float[np.ndarray, "b s"],
        before: np.ndarray,
        *,
        task: Sequence[str] | None,
        objects: np.ndarray | None,
    ) -> ControlState:
        model, batch = self.encoder.proprioception, len(state)
        given, earlier = (torch.from_numpy(np.array(x, np.float32)) for x in (state, before))
        empty = torch.zeros(batch, 0)
        arm = ArmState(hidden=empty, state=empty)
        if model is not None:
            placed = None if objects is None else torch.from_numpy(np.array(objects, np.float32))
            arm = model.start(given, earlier, placed)
        return ControlState(
            state=given,
            moved=torch.zeros(batch, len(self.encoder.convention.names), dtype=torch.float64),
            hidden=arm.hidden,
            normalized=arm.state,
            task=self.encoder.statistics.task_vectors(task, worlds=batch),
        )

    def _motion(self, memory: ControlState, actions: np.ndarray) -> Float64[Tensor, "b a"]:
        """The motion commanded up to the last frame, where signals hold it."""
        encoder = self.encoder
        if encoder.proprioception is not None or encoder.convention.mode == "absolute":
            return memory.moved
        known = {"convention": encoder.convention, "stride": encoder.stride}
        return torch.from_numpy(commanded_motion(actions, memory.moved.numpy(), **known)[:, -1])

    def _signals(
        self, memory: ControlState, actions: np.ndarray, *, states: list[Tensor]
    ) -> Float32[Tensor, "b t c"]:
        """Normalised signals of a frame and of those after it."""
        encoder, first = self.encoder, memory.state.numpy()
        known = {"convention": encoder.convention, "stride": encoder.stride}
        if encoder.proprioception is None:
            raw = commanded_signals(actions, first, moved=memory.moved.numpy(), **known)
        else:
            later = [state.numpy() for state in states]
            raw = imagined_signals(actions, np.concatenate([first[:, None], *later], 1), **known)
        return encoder.statistics.inputs(torch.from_numpy(raw), memory.task)


def unscaled(
    convention: ActionConvention,
    *,
    stride: int,
    state_size: int,
    proprioception: Proprioception | None,
) -> ControlEncoder:
    """An encoder of signals in physical units, from which statistics are measured."""
    imagined = proprioception is not None
    size = control_size(convention, stride=stride, state_size=state_size, imagined_state=imagined)
    statistics = ControlStatistics(
        convention=convention,
        stride=stride,
        state_size=state_size,
        imagined_state=imagined,
        mean=(0.0,) * size,
        std=(1.0,) * size,
    )
    return ControlEncoder(statistics, proprioception)
