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
from roboscape.dataset.cameras import hand_columns, named_hand
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention

SMOOTH = 0.01
"""Errors below so many deviations count squared."""
NEAR_M = 0.03
"""Unit of the distances between hand and objects: about a cube's side."""
OBJECT_STEP = 1e-3
"""Least deviation of an object's change in one row: most rest, and some are thrown."""


@dataclass(frozen=True, kw_only=True)
class ProprioceptionConfig:
    """The settings of the model that imagines proprioception: its robot and its size."""

    convention: ActionConvention
    """What the actions mean."""
    state_names: tuple[str, ...]
    """One a dimension of the state."""
    object_names: tuple[str, ...] = ()
    """Coordinates of objects, one a dimension; none: it knows nothing of the scene."""
    width: int = 128
    """Of the recurrent state."""
    second_order: bool = False
    """Whether it predicts how a row's change differs from the change of the row before, which it
    reads, instead of the change itself."""

    def __post_init__(self) -> None:
        """Refuse a model of nothing."""
        if not self.state_names or self.width < 1:
            raise UserError(
                f"expected at least one state dimension and a width of 1 or more, got "
                f"{len(self.state_names)} and {self.width}"
            )

    @property
    def changes_read(self) -> int:
        """Numbers of the last row's change that it reads; none of a model of first order."""
        return len(self.state_names) + len(self.object_names) if self.second_order else 0

    @property
    def hidden_size(self) -> int:
        """Numbers in `ArmState.hidden`."""
        return self.width + self.changes_read

    @property
    def distances(self) -> tuple[tuple[int, int], ...]:
        """Columns of an object's coordinate and of the hand's along the same axis."""
        if named_hand(self.state_names) is None:
            return ()
        hand = dict(zip("xyz", hand_columns(self.state_names), strict=True))
        axes = [name.rpartition("_")[2] for name in self.object_names]
        return tuple((place, hand[axis]) for place, axis in enumerate(axes) if axis in hand)


@dataclass(frozen=True, kw_only=True)
class Deviations:
    """Mean and deviation of what the model reads and writes, over the training recordings."""

    state_mean: Float[np.ndarray, " s"]
    state_std: Float[np.ndarray, " s"]
    change_std: Float[np.ndarray, " s"]
    """Of a state's change in one row."""
    action_mean: Float[np.ndarray, " a"]
    action_std: Float[np.ndarray, " a"]
    object_mean: Float[np.ndarray, " o"]
    object_std: Float[np.ndarray, " o"]
    object_change_std: Float[np.ndarray, " o"]


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """The state on which an arm's future depends, besides commands."""

    hidden: Float[Tensor, "b w"]
    """Recurrent state; of a model of second order then the last row's change, in its deviations."""
    state: Float[Tensor, "b m"]
    """Proprioception and then objects, in deviations from the mean."""


class Proprioception(nn.Module):
    """A forward model of the arm alone, for open-loop use: x(t+1) = x(t) + f(h(t), x(t), a(t)).

    Of second order, x(t+1) = x(t) + v(t+1) and v(t+1) = v(t) + f(h(t), x(t), v(t), a(t)): an arm
    has mass, so its last change says most of the next.

    The recurrent part h (a GRU; Cho et al. 2014) holds what a state does not show: speed, the
    controller's lag. Summed commands, which it replaces, drift from the arm's true place because
    controllers lag and tables resist; recorded states are the teacher that a forward model needs
    (Jordan & Rumelhart 1992). What it does not know of the scene it averages: what a gripper closes
    on, and what stops it.

    Given the positions of objects, it imagines them with the arm: x(t) is then both. A position may
    be unknown; a learnt one stands for it.
    """

    def __init__(self, config: ProprioceptionConfig) -> None:
        super().__init__()
        self.config = config
        states, actions = len(config.state_names), len(config.convention.names)
        objects, distances = len(config.object_names), len(config.distances)
        width = config.width
        known = actions + states + objects + distances + config.changes_read
        start = 2 * states + objects + distances
        self.begin = nn.Sequential(nn.Linear(start, width), nn.GELU(), nn.Linear(width, width))
        self.cell = nn.GRUCell(known, width)
        change = nn.Linear(width, states + objects)
        # It starts from "nothing moves", or "nothing is accelerated": nearly right for one row.
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        self.change = nn.Sequential(nn.Linear(width + known, width), nn.GELU(), change)
        if objects:
            self.unknown = nn.Parameter(torch.zeros(objects))
        for name, size in (
            ("state_mean", states),
            ("state_std", states),
            ("change_std", states),
            ("action_mean", actions),
            ("action_std", actions),
            *((f"object_{name}", objects) for name in ("mean", "std", "change_std") if objects),
        ):
            self.register_buffer(name, torch.zeros(size) if "mean" in name else torch.ones(size))

    def set_deviations(self, found: Deviations) -> None:
        """Take over what was measured; a number that never changes is only shifted."""
        for name, value in vars(found).items():
            if not value.size:
                continue
            divides = name.endswith("std")
            known = one_where_still(value) if divides else value
            if name == "object_change_std":
                known = np.maximum(value, OBJECT_STEP)
            self.get_buffer(name).copy_(torch.from_numpy(known))

    def forward(
        self,
        actions: Float[Tensor, "b n a"],
        first_state: Float[Tensor, "b s"],
        state_before: Float[Tensor, "b s"],
        objects: Float[Tensor, "b o"] | None = None,
    ) -> Float[Tensor, "b n m"]:
        """States after each action, then objects, in deviations from the mean.

        Args:
            actions: Native-rate actions, stored units.
            first_state: Where the arm is when the first one is given.
            state_before: One row earlier; the same as `first_state` for an arm at rest.
            objects: Where objects are then; NaN, or none given: unknown.
        """
        return self._advance(self.start(first_state, state_before, objects), actions)[1]

    def start(
        self,
        first_state: Float[Tensor, "b s"],
        state_before: Float[Tensor, "b s"],
        objects: Float[Tensor, "b o"] | None = None,
    ) -> ArmState:
        """The arm before its first action; arguments as in `forward`."""
        state = self.normalize(first_state)
        speed = (first_state - state_before) / self.get_buffer("change_std")
        placed = self._placed(objects, worlds=len(state))
        whole = torch.cat([state, placed], dim=-1)
        hidden = self.begin(torch.cat([state, speed, placed, self._distances(whole)], dim=-1))
        if self.config.second_order:
            # Objects are taken to rest: where they were a row earlier is not known.
            hidden = torch.cat([hidden, speed, torch.zeros_like(placed)], dim=-1)
        return ArmState(hidden=hidden, state=whole)

    def _placed(self, objects: Float[Tensor, "b o"] | None, *, worlds: int) -> Float[Tensor, "b o"]:
        """Places of objects in deviations, the learnt one for those that are unknown."""
        if not self.config.object_names:
            return self.get_buffer("state_mean").new_zeros(worlds, 0)
        placed = self.unknown.expand(worlds, -1)
        if objects is None:
            return placed
        given = self.normalize_objects(objects)
        return torch.where(torch.isnan(given), placed, given)

    def advance(
        self, arm: ArmState, actions: Float[Tensor, "b n a"]
    ) -> tuple[ArmState, Float[Tensor, "b n s"]]:
        """The arm after one action or more, and its states after each, in deviations."""
        arm, found = self._advance(arm, actions)
        return arm, found[..., : len(self.config.state_names)]

    def _advance(
        self, arm: ArmState, actions: Float[Tensor, "b n a"]
    ) -> tuple[ArmState, Float[Tensor, "b n m"]]:
        """As `advance`, objects included."""
        actions = (actions - self.get_buffer("action_mean")) / self.get_buffer("action_std")
        step = self._of_all("change_std") / self._of_all("std")
        width, state = self.config.width, arm.state
        # Of a model of first order the last change has no numbers.
        hidden, last = arm.hidden[:, :width], arm.hidden[:, width:]
        states = []
        for action in actions.unbind(dim=1):
            known = torch.cat([action, state, self._distances(state), last], dim=-1)
            hidden = self.cell(known, hidden)
            change = self.change(torch.cat([hidden, known], dim=-1))
            if self.config.second_order:
                change = last = last + change
            state = state + step * change
            states.append(state)
        hidden = torch.cat([hidden, last], dim=-1)
        return ArmState(hidden=hidden, state=state), torch.stack(states, dim=1)

    def _distances(self, state: Float[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """From the hand to objects along each axis, in units of `NEAR_M`."""
        pairs, robot = self.config.distances, len(self.config.state_names)
        if not pairs:
            return state[:, :0]
        metres = state * self._of_all("std") + self._of_all("mean")
        places, hand = ([pair[side] for pair in pairs] for side in (0, 1))
        return (metres[:, [robot + place for place in places]] - metres[:, hand]) / NEAR_M

    def _of_all(self, name: str) -> Float[Tensor, " m"]:
        """A statistic of states and objects after each other."""
        of_state = self.get_buffer("change_std" if name == "change_std" else f"state_{name}")
        if not self.config.object_names:
            return of_state
        return torch.cat([of_state, self.get_buffer(f"object_{name}")])

    def normalize(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
        """States in deviations from the mean."""
        return (states - self.get_buffer("state_mean")) / self.get_buffer("state_std")

    def normalize_objects(self, objects: Float[Tensor, "*b o"]) -> Float[Tensor, "*b o"]:
        """Objects' places in deviations from the mean."""
        return (objects - self.get_buffer("object_mean")) / self.get_buffer("object_std")

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
        objects: Float[np.ndarray, "b o"] | None = None,
    ) -> Float[np.ndarray, "b n+1 s"]:
        """Every row's state under these actions, the given first one included; stored units.

        Args:
            actions: Native-rate actions.
            first_state: Where the arm is when the first one is given.
            state_before: One row earlier; without it the arm is taken to be at rest.
            objects: Where objects are at the first state; NaN, or none given: unknown.
        """
        before = first_state if state_before is None else state_before
        given = np.asarray(first_state, np.float32)
        if not actions.shape[1]:
            return given[:, None]
        commands, first, earlier = (
            torch.as_tensor(x, dtype=torch.float32) for x in (actions, first_state, before)
        )
        placed = None if objects is None else torch.as_tensor(objects, dtype=torch.float32)
        states = self.advance(self.start(first, earlier, placed), commands)[1]
        return np.concatenate([given[:, None], self.stored_units(states).numpy()], axis=1)

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
        true: What was recorded, in deviations; NaN where that does not count.
        known: 1 where a row was recorded, 0 beyond an episode's end.
    """
    counts = ~torch.isnan(true) & (known > 0).unsqueeze(-1)
    # Not the error times 0: the gradient of what is not a number is none either.
    taught = torch.where(counts, true, imagined.detach())
    error = functional.smooth_l1_loss(imagined, taught, reduction="none", beta=SMOOTH)
    return error.sum() / counts.sum()
