"""From recorded or chosen actions to what a world model takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from roboscape.controls.proprioception import Proprioception
from roboscape.controls.signals import commanded_signals, control_size, imagined_signals
from roboscape.core.config import load_config, save_config
from roboscape.core.pretrained import resolve
from roboscape.dataset.records import ActionConvention

STATISTICS, PROPRIOCEPTION = "controls.json", "proprioception"


@dataclass(frozen=True, kw_only=True)
class ControlStatistics:
    """What turns control signals into a model's inputs; measured on the training split."""

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

    def __post_init__(self) -> None:
        """Refuse statistics of other signals than the convention's."""
        size = control_size(
            self.convention,
            stride=self.stride,
            state_size=self.state_size,
            imagined_state=self.imagined_state,
        )
        if not len(self.mean) == len(self.std) == size:
            raise ValueError(
                f"control signals of this convention at stride {self.stride} have {size} "
                f"dimensions; got {len(self.mean)} means and {len(self.std)} deviations"
            )

    def normalize(self, signals: Float[Tensor, "*b t c"]) -> Float[Tensor, "*b t c"]:
        """Signals as a model takes them: zero mean, unit deviation.

        Row 0 stays zeros where it says nothing, that is without an imagined state.
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
    """Says where the commands bring the arm; None: the signal holds their sum."""

    def __post_init__(self) -> None:
        """Refuse statistics of the other kind of signal."""
        if self.statistics.imagined_state != (self.proprioception is not None):
            raise ValueError(
                "control statistics with an imagined state and a proprioception model belong "
                f"together; got imagined_state={self.statistics.imagined_state} and "
                f"{'a' if self.proprioception else 'no'} model"
            )

    @property
    def convention(self) -> ActionConvention:
        """What the actions mean."""
        return self.statistics.convention

    @property
    def stride(self) -> int:
        """Native rows between two frames."""
        return self.statistics.stride

    @property
    def size(self) -> int:
        """Length of one control signal."""
        return len(self.statistics.mean)

    def encode(
        self,
        actions: Float[np.ndarray, "b n a"],
        first_state: Float[np.ndarray, "b s"],
        *,
        state_before: Float[np.ndarray, "b s"] | None = None,
    ) -> Float32[Tensor, "b t c"]:
        """What a world model is told about frames 0 to n // stride.

        Args:
            actions: At the native rate, stored units.
            first_state: Proprioception at frame 0; empty (b, 0) where there is none.
            state_before: One native row earlier, which says how fast the arm is at frame 0; without
                it the arm is taken to be at rest.
        """
        signals = raw_signals(
            actions,
            first_state,
            state_before=state_before,
            convention=self.convention,
            stride=self.stride,
            proprioception=self.proprioception,
        )
        return self.statistics.normalize(torch.from_numpy(signals))

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
            raise ValueError(f"{folder} holds no {STATISTICS}; expected the folder of a checkpoint")
        return cls.of(load_config(ControlStatistics, folder / STATISTICS), folder)

    @classmethod
    def of(cls, statistics: ControlStatistics, folder: Path) -> "ControlEncoder":
        """With the model that lies in a folder, where the statistics want one."""
        if not statistics.imagined_state:
            return cls(statistics)
        return cls(statistics, Proprioception.from_pretrained(folder, subfolder=PROPRIOCEPTION))


def raw_signals(
    actions: Float[np.ndarray, "b n a"],
    first_state: Float[np.ndarray, "b s"],
    *,
    state_before: Float[np.ndarray, "b s"] | None = None,
    convention: ActionConvention,
    stride: int,
    proprioception: Proprioception | None,
) -> Float32[np.ndarray, "b t c"]:
    """Control signals in physical units, of either kind."""
    known = {"convention": convention, "stride": stride}
    if proprioception is None:
        return commanded_signals(actions, first_state, **known)
    states = proprioception.imagine(actions, first_state, state_before=state_before)
    return imagined_signals(actions, states, **known)
