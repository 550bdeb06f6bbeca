"""A cost for Lift, read off the last imagined frame and the imagined state.

As robosuite's own shaped reward it has stages: the hand comes near the cube, then the cube rises.
Where the cube is comes from the pixels that `lift_cube` finds, lifted into space by their depth.
"""

import numpy as np
from jaxtyping import Float, UInt8

from roboscape.dataset.cameras import CameraPose, camera_pose, hand_columns, unproject
from roboscape.planning.imagining import Futures, Reads
from roboscape.simulators.lift_cube import (
    HEIGHT_QUANTILE,
    RISE_HEIGHT,
    cube_patch,
    table_inverse_depth,
)
from roboscape.simulators.recording_spec import dataset_spec

HALF_CUBE_M = 0.02
"""From the visible surface of the cube to its middle."""
STEEPNESS = 10.0
"""Of the reward for being near, per metre: as in robosuite, 10 cm away are worth a quarter."""
RESTING_HEIGHT = 0.09
"""What a resting cube's height reads up to, of the camera's height (`lift_cube`)."""
RISE_WEIGHT = 2.25
"""Of a cube that has risen, beside 1 for a hand that is there: robosuite's."""


class LiftCost:
    """Minus the reward: how near the hand is to the cube, and how far the cube has risen."""

    reads: Reads = "all"

    def __init__(self, *, camera: str, state_names: tuple[str, ...], image_size: int) -> None:
        """Watch a camera.

        Args:
            camera: of the task's true simulator, which says where it is.
            state_names: of the imagined states, with the hand's position in metres.
            image_size: height and width of the images.
        """
        self._camera = camera
        self._hand = hand_columns(state_names)
        spec = dataset_spec("Lift", cameras=(camera,), image_size=image_size, supersampling=1)
        self._pose = camera_pose(spec, camera, np.zeros(len(spec.state_names)))

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The cost of every candidate; a cube that is hidden is where it was."""
        given_rgb = futures.given.rgb[self._camera]
        given_depth_m = futures.given.depth_m[self._camera]
        tables = [table_inverse_depth(depth_m) for depth_m in given_depth_m]
        before = [
            cube_centre_m(rgb, depth_m, pose=self._pose)
            for rgb, depth_m in zip(given_rgb, given_depth_m, strict=True)
        ]
        costs = np.zeros(len(futures))
        for place, world in enumerate(futures.world):
            rgb = futures.last.rgb[self._camera][place]
            depth_m = futures.last.depth_m[self._camera][place]
            centre_m = cube_centre_m(rgb, depth_m, pose=self._pose)
            risen = risen_share(rgb, depth_m, table=tables[world])
            cube_m = before[world] if centre_m is None else centre_m
            near = 0.0
            if cube_m is not None:
                away_m = float(np.linalg.norm(futures.states[place, -1, self._hand] - cube_m))
                near = 1 - np.tanh(STEEPNESS * away_m)
            costs[place] = -near - RISE_WEIGHT * risen
        return costs


def cube_centre_m(
    rgb: UInt8[np.ndarray, "h w 3"], depth_m: Float[np.ndarray, "h w"], *, pose: CameraPose
) -> Float[np.ndarray, "3"] | None:
    """The middle of the cube in the world, from the median of its pixels; None where hidden."""
    patch = cube_patch(rgb)
    if patch is None:
        return None
    y_px, x_px = np.nonzero(patch)
    pixels = np.stack([x_px, y_px, depth_m[patch]], axis=1).astype(np.float64)
    surface_m = np.median(unproject(pixels, pose), axis=0)
    ray = surface_m - pose.position_m
    return surface_m + HALF_CUBE_M * ray / np.linalg.norm(ray)


def risen_share(
    rgb: UInt8[np.ndarray, "h w 3"],
    depth_m: Float[np.ndarray, "h w"],
    *,
    table: Float[np.ndarray, "h w"],
) -> float:
    """0 for a cube that rests or is hidden, 1 for one that counts as risen."""
    patch = cube_patch(rgb)
    if patch is None:
        return 0.0
    height = float(np.quantile(1 - depth_m[patch] * table[patch], HEIGHT_QUANTILE))
    return float(np.clip((height - RESTING_HEIGHT) / (RISE_HEIGHT - RESTING_HEIGHT), 0, 1))
