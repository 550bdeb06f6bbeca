"""Imagined proprioception: where commands will bring the arm, from where it is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from roboscape.controls.signals import one_where_still
from roboscape.core.errors import UserError
from roboscape.core.pretrained import load_model, resolve, save_weights
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention

SMOOTH = 0.01
"""Errors below so many deviations count squared."""


@dataclass(frozen=True, kw_only=True)
class ProprioceptionConfig:
    """The settings of the model that imagines proprioception: its robot and its size."""

    convention: ActionConvention
    """What the actions mean."""
    state_names: tuple[str, ...]
    """One a dimension of the state."""
    width: int = 128
    """Of the recurrent state."""

    def __post_init__(self) -> None:
        """Refuse a model of nothing."""
        if not self.state_names or self.width < 1:
            raise UserError(
                f"expected at least one state dimension and a width of 1 or more, got "
                f"{len(self.state_names)} and {self.width}"
            )


@dataclass(frozen=True, kw_only=True)
class Deviations:
    """Mean and deviation of what the model reads and writes, over the training recordings."""

    state_mean: Float[np.ndarray, " s"]
    state_std: Float[np.ndarray, " s"]
    change_std: Float[np.ndarray, " s"]
    """Of a state's change in one row."""
    action_mean: Float[np.ndarray, " a"]
    action_std: Float[np.ndarray, " a"]


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """The state on which an arm's future depends, besides commands."""

    hidden: Float[Tensor, "b w"]
    """Recurrent state."""
    state: Float[Tensor, "b s"]
    """Proprioception, in deviations from the mean."""


class Proprioception(nn.Module):
    """A forward model of the arm alone, for open-loop use: x(t+1) = x(t) + f(h(t), x(t), a(t)).

    The recurrent part h (a GRU; Cho et al. 2014) holds what a state does not show: speed, the
    controller's lag. Summed commands, which it replaces, drift from the arm's true place because
    controllers lag and tables resist; recorded states are the teacher that a forward model needs
    (Jordan & Rumelhart 1992). It reads nothing of the scene: what a gripper closes on, it averages.
    """

    def __init__(self, config: ProprioceptionConfig) -> None:
        super().__init__()
        self.config = config
        states, actions = len(config.state_names), len(config.convention.names)
        width, known = config.width, states + actions
        self.begin = nn.Sequential(nn.Linear(2 * states, width), nn.GELU(), nn.Linear(width, width))
        self.cell = nn.GRUCell(known, width)
        change = nn.Linear(width, states)
        # It starts from "nothing moves", which is nearly right for one row.
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        self.change = nn.Sequential(nn.Linear(width + known, width), nn.GELU(), change)
        for name, size in (
            ("state_mean", states),
            ("state_std", states),
            ("change_std", states),
            ("action_mean", actions),
            ("action_std", actions),
        ):
            self.register_buffer(name, torch.zeros(size) if "mean" in name else torch.ones(size))

    def set_deviations(self, found: Deviations) -> None:
        """Take over what was measured; a number that never changes is only shifted."""
        for name, value in vars(found).items():
            divides = name.endswith("std")
            known = one_where_still(value) if divides else value
            self.get_buffer(name).copy_(torch.from_numpy(known))

    def forward(
        self,
        actions: Float[Tensor, "b n a"],
        first_state: Float[Tensor, "b s"],
        state_before: Float[Tensor, "b s"],
    ) -> Float[Tensor, "b n s"]:
        """States after each action, in deviations from the mean.

        Args:
            actions: Native-rate actions, stored units.
            first_state: Where the arm is when the first one is given.
            state_before: One row earlier; the same as `first_state` for an arm at rest.
        """
        return self.advance(self.start(first_state, state_before), actions)[1]

    def start(
        self, first_state: Float[Tensor, "b s"], state_before: Float[Tensor, "b s"]
    ) -> ArmState:
        """The arm before its first action; arguments as in `forward`."""
        state = self.normalize(first_state)
        speed = (first_state - state_before) / self.get_buffer("change_std")
        return ArmState(hidden=self.begin(torch.cat([state, speed], dim=-1)), state=state)

    def advance(
        self, arm: ArmState, actions: Float[Tensor, "b n a"]
    ) -> tuple[ArmState, Float[Tensor, "b n s"]]:
        """The arm after one action or more, and the states after each, in deviations."""
        actions = (actions - self.get_buffer("action_mean")) / self.get_buffer("action_std")
        step = self.get_buffer("change_std") / self.get_buffer("state_std")
        hidden, state = arm.hidden, arm.state
        states = []
        for action in actions.unbind(dim=1):
            known = torch.cat([action, state], dim=-1)
            hidden = self.cell(known, hidden)
            state = state + step * self.change(torch.cat([hidden, known], dim=-1))
            states.append(state)
        return ArmState(hidden=hidden, state=state), torch.stack(states, dim=1)

    def normalize(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
        """States in deviations from the mean."""
        return (states - self.get_buffer("state_mean")) / self.get_buffer("state_std")

    def stored_units(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
        """Inverse of `normalize`."""
        return states * self.get_buffer("state_std") + self.get_buffer("state_mean")

    @torch.no_grad()
    def imagine(
        self,
        actions: Float[np.ndarray, "b n a"],
        first_state: Float[np.ndarray, "b s"],
        *,
        state_before: Float[np.ndarray, "b s"] | None = None,
    ) -> Float[np.ndarray, "b n+1 s"]:
        """Every row's state under these actions, the given first one included; stored units.

        Args:
            actions: Native-rate actions.
            first_state: Where the arm is when the first one is given.
            state_before: One row earlier; without it the arm is taken to be at rest.
        """
        before = first_state if state_before is None else state_before
        given = np.asarray(first_state, np.float32)
        if not actions.shape[1]:
            return given[:, None]
        tensors = (torch.as_tensor(x, dtype=torch.float32) for x in (actions, first_state, before))
        return np.concatenate([given[:, None], self.stored_units(self(*tensors)).numpy()], axis=1)

    def check(self, dataset: LeRobotDataset) -> None:
        """Refuse recordings of another robot.

        Raises:
            ValueError: other state dimensions or another action convention.
        """
        for what, expected, found in (
            ("state dimensions", self.config.state_names, dataset.spec.state_names),
            ("action convention", self.config.convention, dataset.spec.action),
        ):
            if expected != found:
                raise UserError(
                    f"the proprioception model was trained with the {what}\n  {expected}\nand "
                    f"{dataset.root} has\n  {found}\nTrain one on these recordings: `roboscape "
                    "train proprioception`"
                )

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, subfolder: str = "") -> "Proprioception":
        """Load from a folder or a hub repository, ready to imagine."""
        return load_model(cls, ProprioceptionConfig, resolve(name, subfolder=subfolder))


def proprioception_loss(
    imagined: Float[Tensor, "b n s"], true: Float[Tensor, "b n s"], *, known: Float[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Mean absolute error of known rows, in deviations: a jump in a recording weighs little.

    Args:
        imagined: What `Proprioception` returns.
        true: `Proprioception.normalize` of the recorded states.
        known: 1 where a row was recorded, 0 beyond an episode's end.
    """
    error = functional.smooth_l1_loss(imagined, true, reduction="none", beta=SMOOTH)
    return (error.mean(dim=-1) * known).sum() / known.sum()
