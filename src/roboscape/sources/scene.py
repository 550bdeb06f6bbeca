"""The protocol of the scenes of simulated tasks: one world of true physics, without images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.records import ActionConvention
from roboscape.sources.random_scenes import Workspace

WRIST = "wrist"
"""Name of the camera on a robot's hand."""
WRIST_NEAREST_M = 0.03
"""Nearest depth that is stored where there is a camera on the hand, which sees its own fingers."""
Script = Callable[[Any], Float[np.ndarray, " a"]]
"""Acts: from a scene's view to the next native action."""


@dataclass(frozen=True, kw_only=True)
class SceneKind:
    """The properties common to all scenes of a task family."""

    source: str
    """Package, version and family, as datasets have it."""
    robot_type: str
    action: ActionConvention
    state_names: tuple[str, ...]
    object_names: tuple[str, ...] = ()
    """Coordinates of objects, one name a number; none where scenes do not say."""
    camera: str
    """The camera that looks at the scene where none is named."""
    wrist: str
    """The model's name of the camera on the hand, which is `wrist` in all simulators."""
    depth_range_m: tuple[float, float]
    """Nearest and farthest depth that is stored."""
    workspace: Workspace
    """Where random cameras look."""
    geom_groups: tuple[int, ...]
    """MuJoCo's groups of what is to be seen."""
    one_model: bool
    """Whether all scenes, of all seeds, have equal MuJoCo models, so that one renderer serves."""

    def model_camera(self, name: str) -> str:
        """The model's name of a camera."""
        return self.wrist if name == WRIST else name


@runtime_checkable
class Scene(Protocol):
    """One world: reset by a seed, stepped by native actions, copied and restored exactly."""

    kind: SceneKind
    task: str
    """What is to be done, in words."""

    @property
    def model(self) -> Any:
        """MuJoCo's model, which a reset may replace."""
        ...

    @property
    def data(self) -> Any:
        """MuJoCo's state."""
        ...

    def state(self) -> Float[np.ndarray, " s"]:
        """The robot's proprioception, in the order of the kind's `state_names`."""
        ...

    def objects(self) -> Float[np.ndarray, " o"]:
        """Positions of the objects, in the order of the kind's `object_names`."""
        ...

    def solved(self) -> bool:
        """True if the simulator counts the task as solved now."""
        ...

    def view(self) -> Any:
        """The observation of a script, objects' true poses included."""
        ...

    def reset(self, seed: int, *, behaviour: str) -> None:
        """Place everything as the recorded episode of this seed and behaviour begins."""
        ...

    def script(self, seed: int, *, behaviour: str) -> Script:
        """The script that acts in the recorded episode of this seed and behaviour."""
        ...

    def step(self, action: Float[np.ndarray, " a"]) -> None:
        """Take one native action."""
        ...

    def capture(self) -> Any:
        """Copy everything that the scene's future depends on."""
        ...

    def restore(self, captured: Any) -> None:
        """Be as another scene of the same task was when it was captured."""
        ...


def make_scene(task: str, *, cameras: tuple[str, ...] = ()) -> Scene:
    """The scene of a task: `Lift`, or `metaworld/` and a task's name.

    Raises:
        ValueError: no such task, or the simulators are not installed.
    """
    # Each family brings a simulator of its own, which takes seconds to import.
    if task == "Lift":
        from roboscape.sources.lift import LiftScene

        return LiftScene()
    family, _, name = task.partition("/")
    if family == "metaworld":
        from roboscape.sources.metaworld import MetaworldScene

        return MetaworldScene(name, cameras=cameras)
    raise UserError(f"expected the task Lift or metaworld/<name>, got {task!r}")
