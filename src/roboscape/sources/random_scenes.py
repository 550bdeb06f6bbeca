"""Random looks of a MuJoCo scene: camera, colours and lights, drawn from an episode's seed.

Physics is left alone, so an episode's motion is that of the same seed in the usual look. Depth and
tracks are measured through the same camera as the images. Domain randomisation after Tobin et al.
(arXiv 1703.06907).
"""

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.sources.graphics import mujoco

_LOOK = 7
"""Keeps the draws of a look apart from others of the same seed."""
DEPTH_RANGE_M = (0.1, 10.0)
"""Nearest and farthest depth that is stored: wide enough for every random camera."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The place where a robot works, and the places to look at it from."""

    centre_m: tuple[float, float, float]
    """What cameras look at, in the world."""
    front_deg: float
    """Azimuth, about the world's z axis, of the direction from the robot's base to the centre."""


def randomise_look(
    model: Any, data: Any, *, workspace: Workspace, cameras: tuple[str, ...], seed: int
) -> None:
    """Give a scene the colours, lights and camera poses of a seed, whatever it had before.

    Args:
        model: The scene.
        data: Its state.
        workspace: What cameras look at.
        cameras: Those that are put elsewhere; none, and the usual ones stay.
        seed: Of the draws.

    Raises:
        ValueError: a camera is mounted on a moving body, so that it cannot be put elsewhere.
    """
    generator = numpy_generator_for(seed, _LOOK)
    for camera in cameras:
        _place_camera(model, camera, workspace=workspace, generator=generator)
    _colour(model, generator=generator)
    _light(model, workspace=workspace, generator=generator)
    # Poses of cameras and lights in the world, and nothing of the physics.
    mujoco.mj_camlight(model, data)


def _place_camera(
    model: Any, name: str, *, workspace: Workspace, generator: np.random.Generator
) -> None:
    """Look at the workspace from somewhere around it, but not from behind the robot."""
    index = model.camera(name).id
    if model.cam_bodyid[index] != 0:
        raise UserError(
            f"camera {name!r} is mounted on a moving body; random scenes place cameras that stand "
            "still: choose another --camera"
        )
    target_m = np.array(workspace.centre_m) + generator.normal(0, 0.05, 3)
    azimuth = np.deg2rad(workspace.front_deg + generator.uniform(-125, 125))
    elevation = np.deg2rad(generator.uniform(12, 65))
    fov_deg = generator.uniform(35, 65)
    # Half of what the picture is wide, at the workspace.
    reach_m = generator.uniform(0.36, 0.62)
    backward = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    position_m = target_m + backward * reach_m / np.tan(np.deg2rad(fov_deg) / 2)
    model.cam_mode[index] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED.value
    model.cam_pos[index] = position_m
    model.cam_fovy[index] = fov_deg
    mujoco.mju_mat2Quat(
        model.cam_quat[index],
        _looking_along(-backward, roll=np.deg2rad(generator.normal(0, 4))).reshape(-1),
    )


def _looking_along(forward: Float[np.ndarray, "3"], *, roll: float) -> Float[np.ndarray, "3 3"]:
    """Camera to world (x right, y up, z backward) of a camera that looks along a direction."""
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    turned = np.cos(roll) * right + np.sin(roll) * up
    return np.stack([turned, np.cross(turned, forward), -forward], axis=1)


def _colour(model: Any, *, generator: np.random.Generator) -> None:
    """A new colour for every material (a texture is multiplied by it) and every plain geom."""
    for index in range(model.nmat):
        model.mat_rgba[index, :3] = _draw_colour(generator)
        model.mat_specular[index], model.mat_shininess[index] = generator.uniform(0, 0.6, 2)
    for index in np.flatnonzero(model.geom_matid < 0):
        model.geom_rgba[index, :3] = _draw_colour(generator)


def _draw_colour(generator: np.random.Generator) -> tuple[float, float, float]:
    """From grey to vivid, more often dull, as most things are."""
    hue, saturation = generator.uniform(), generator.beta(0.8, 1.2)
    return colorsys.hsv_to_rgb(hue, saturation, generator.uniform(0.2, 1.0))


def _light(model: Any, *, workspace: Workspace, generator: np.random.Generator) -> None:
    """Lights that stand still shine on the workspace from somewhere above it."""
    headlight = model.vis.headlight
    headlight.ambient[:] = generator.uniform(0.1, 0.45)
    headlight.diffuse[:] = generator.uniform(0.1, 0.5)
    centre_m = np.array(workspace.centre_m)
    for index in range(model.nlight):
        azimuth, height = generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 2.5)
        away = np.array([np.cos(azimuth), np.sin(azimuth), height])
        strength = generator.uniform(0.15, 0.8) * (1 - generator.uniform(0, 0.25, 3))
        if model.light_bodyid[index] != 0:
            continue
        model.light_mode[index] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED.value
        model.light_pos[index] = centre_m + 1.5 * away
        model.light_dir[index] = -away / np.linalg.norm(away)
        model.light_diffuse[index] = strength
        model.light_ambient[index] = 0.0
        model.light_specular[index] = 0.3 * strength
