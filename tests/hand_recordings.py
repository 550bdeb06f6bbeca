"""Synthetic recordings of a hand that moves in front of a camera: nothing is wrong with them."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode

SIDE_PX = 48
FPS = 20.0
# A camera behind the robot (x forward, y left, z up) that looks forward and down.
RIGHT, DOWN = np.array([0.0, -1.0, 0.0]), np.array([-0.6, 0.0, -0.8])
PX_PER_M = 130.0
SCALE_M, ANSWERED = 0.05, 0.5

SPEC = DatasetSpec(
    fps=FPS,
    robot_type="hand",
    cameras=(CameraSpec(name="front", height=SIDE_PX, width=SIDE_PX, has_depth=True),),
    state_names=(
        *(f"eef_{axis}" for axis in "xyz"),
        *(f"eef_quaternion_{axis}" for axis in "xyzw"),
        "gripper_opening",
        "joint_1",
        "joint_2",
    ),
    action=ActionConvention(
        mode="delta",
        names=("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz", "gripper"),
        units=("m", "m", "m", "rad", "rad", "rad", "1"),
        scale=(SCALE_M, SCALE_M, SCALE_M, 0.5, 0.5, 0.5, 1.0),
        frame="robot_base",
        rotation="axis_angle",
        gripper="-1 opens, +1 closes",
        action_hz=FPS,
    ),
    depth_min_m=0.2,
    depth_max_m=4.0,
    source="test",
)


def record(seed: int, *, length: int = 100) -> Episode:
    """One episode: the hand follows smooth commands half as far as told, a row late."""
    random = np.random.default_rng(seed)
    position_m = 0.1 * _smooth(random, length + 2, 3)
    told = np.diff(position_m, axis=0)[1:] / (SCALE_M * ANSWERED)
    position_m = position_m[:-2]
    turned = Rotation.from_rotvec(0.5 * _smooth(random, length, 3) + [0.3, 0.2, 0.1]).as_quat()
    opens = np.where((np.arange(length) + random.integers(20)) // 20 % 2, 1.0, -1.0)
    opening_m = 0.04 * (1 + gaussian_filter1d(np.roll(opens, 4), 1.5, mode="nearest"))
    state = np.column_stack([position_m, turned, opening_m, 2 * _smooth(random, length, 2)])
    state += 1e-5 * random.normal(size=state.shape)
    frames, depth_m = _pictures(position_m, random)
    return Episode(
        frames={"front": frames},
        depth_m={"front": depth_m},
        tracks={},
        actions=np.column_stack([told, _smooth(random, length, 3), -opens]).astype(np.float32),
        state=state.astype(np.float32),
        reward=np.zeros(length, np.float32),
        task="move about",
        success=bool(seed % 2),
        seed=seed,
        behaviour="random",
    )


def _smooth(random: np.random.Generator, length: int, count: int) -> np.ndarray:
    """Waves of a second and more, within [-1, 1]."""
    noise = gaussian_filter1d(random.normal(size=(length + 60, count)), 8, axis=0)[30:-30]
    return 0.9 * noise / np.abs(noise).max(axis=0)


def _pictures(position_m: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A patterned ball in front of a patterned wall, and their distance."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float64)
    wall = 60 + 20 * np.sin(x / 3 + 1) * np.cos(y / 4) + 4 * random.normal(size=x.shape)
    centre = SIDE_PX / 2 - 0.5
    across = x - centre - PX_PER_M * (position_m @ RIGHT)[:, None, None]
    down = y - centre - PX_PER_M * (position_m @ DOWN)[:, None, None]
    ball = np.exp(-(((across**2 + down**2) / 50) ** 2))
    pattern = 170 + 60 * np.sin(across) * np.cos(down * 0.8)
    grey = wall * (1 - ball) + pattern * ball
    depth_m = (1.0 + x / SIDE_PX) * (1 - ball) + 0.6 * ball
    frames = np.stack([grey, 0.9 * grey, 0.8 * grey], -1).clip(0, 255).astype(np.uint8)
    return frames, depth_m.astype(np.float32)
