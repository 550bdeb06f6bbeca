"""Published RLDS datasets by their TFDS name: where they keep what, and what the numbers mean."""

from collections.abc import Mapping
from dataclasses import dataclass

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import ActionConvention, ControlMode
from roboscape.sources.readers.rlds_features import Feature

POSE_NAMES = ("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz")
POSE_UNITS = ("m", "m", "m", "rad", "rad", "rad")
UNKNOWN_FPS = 10.0
"""Frame rate of datasets for which none is known."""


@dataclass(frozen=True, kw_only=True)
class RldsDataset:
    """The facts about a dataset that its records leave open."""

    robot_type: str
    fps: float
    actions: tuple[str, ...]
    """Features of a step that make up the action, one after the other."""
    convention: ActionConvention
    state: tuple[str, ...]
    """Features of a step that make up the state."""
    state_names: tuple[str, ...]
    all_succeed: bool = False
    """True where only demonstrations were published, whatever their rewards are."""


def end_effector(
    mode: ControlMode, *, gripper: str, gripper_open: float, action_hz: float
) -> ActionConvention:
    """Six numbers of a pose or its change in the robot's frame, and a gripper."""
    return ActionConvention(
        mode=mode,
        names=(*POSE_NAMES, "gripper"),
        units=(*POSE_UNITS, "1"),
        scale=(1.0,) * 7,
        frame="robot_base",
        rotation="euler_xyz",
        gripper=gripper,
        action_hz=action_hz,
        gripper_open=gripper_open,
        gripper_closed=0.0 if gripper_open > 0 else 1.0,
    )


BRIDGE_ACTIONS = end_effector("delta", gripper="0 closes, 1 opens", gripper_open=1.0, action_hz=5.0)
BRIDGE = RldsDataset(
    robot_type="widowx_250",
    fps=5.0,
    actions=("action",),
    convention=BRIDGE_ACTIONS,
    state=("observation/state",),
    state_names=(*POSE_NAMES, "gripper_opening_share"),
    all_succeed=True,
)
"""BridgeData V2 as its authors publish it."""
BRIDGE_OXE = RldsDataset(
    robot_type="widowx_250",
    fps=5.0,
    actions=("action/world_vector", "action/rotation_delta", "action/open_gripper"),
    convention=BRIDGE_ACTIONS,
    state=("observation/state",),
    state_names=(*POSE_NAMES, "gripper_opening_share"),
    all_succeed=True,
)
"""BridgeData in the first release of Open X-Embodiment."""
RT1 = RldsDataset(
    robot_type="google_robot",
    fps=3.0,
    actions=("action/world_vector", "action/rotation_delta", "action/gripper_closedness_action"),
    convention=end_effector(
        "delta",
        gripper="-1 opens, +1 closes, 0 leaves it as it is",
        gripper_open=-1.0,
        action_hz=3.0,
    ),
    state=("observation/base_pose_tool_reached", "observation/gripper_closed"),
    state_names=(
        "eef_x",
        "eef_y",
        "eef_z",
        "eef_qx",
        "eef_qy",
        "eef_qz",
        "eef_qw",
        "gripper_closed_share",
    ),
)
"""RT-1's recordings; the base's motion, nearly always zero, is left out."""
DROID = RldsDataset(
    robot_type="franka_robotiq",
    fps=15.0,
    actions=("action_dict/cartesian_position", "action_dict/gripper_position"),
    convention=end_effector(
        "absolute", gripper="0 opens, 1 closes", gripper_open=0.0, action_hz=15.0
    ),
    state=("observation/cartesian_position", "observation/gripper_position"),
    state_names=(*POSE_NAMES, "gripper_closed_share"),
)
"""DROID: of its several action spaces the commanded pose."""

DATASETS: dict[str, RldsDataset] = {
    "bridge_dataset": BRIDGE,
    "bridge_orig": BRIDGE,
    "bridge": BRIDGE_OXE,
    "fractal20220817_data": RT1,
    "droid": DROID,
    "droid_100": DROID,
}


def dataset_named(name: str, features: Mapping[str, Feature]) -> RldsDataset:
    """The facts known about a dataset, or a guess from its features with `known=False`.

    A known name whose features are other ones (a converted copy) is not known either.
    """
    known = DATASETS.get(name)
    if known is not None:
        wanted = [f"steps/{part}" for part in (*known.actions, *known.state)]
        widths = [features[part].width for part in wanted if part in features]
        expected = len(known.convention.names) + len(known.state_names)
        if len(widths) == len(wanted) and sum(widths) == expected:
            return known
    actions = _parts(features, ("action",))
    if not actions:
        raise UserError(
            f"dataset {name!r}: expected numbers in `steps/action`, found none among "
            f"{sorted(features)}"
        )
    state = _parts(features, ("observation/state", "observation/proprio"))
    return RldsDataset(
        robot_type="unknown",
        fps=UNKNOWN_FPS,
        actions=actions,
        convention=unknown_convention(_names(features, actions), action_hz=UNKNOWN_FPS),
        state=state,
        state_names=_names(features, state),
    )


def _parts(features: Mapping[str, Feature], names: tuple[str, ...]) -> tuple[str, ...]:
    """The features of numbers with one of these names, or grouped under it."""
    return tuple(
        path.removeprefix("steps/")
        for path, feature in sorted(features.items())
        if feature.is_number
        and any(path == f"steps/{name}" or path.startswith(f"steps/{name}/") for name in names)
    )


def _names(features: Mapping[str, Feature], parts: tuple[str, ...]) -> tuple[str, ...]:
    """A name for each number of some features."""
    names = []
    for part in parts:
        width = features[f"steps/{part}"].width
        stem = part.rpartition("/")[2]
        names += [stem] if width == 1 else [f"{stem}_{index}" for index in range(width)]
    return tuple(names)
