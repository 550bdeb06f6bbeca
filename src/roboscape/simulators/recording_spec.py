"""Specifications of the true simulator's cameras, and of the datasets recorded with it."""

from dataclasses import replace
from functools import cache

from roboscape.dataset.cameras import geometry_of, hand_pose
from roboscape.dataset.records import CameraGeometry, CameraSpec, DatasetSpec, RandomScenes
from roboscape.sources.graphics import mujoco
from roboscape.sources.random_scenes import DEPTH_RANGE_M
from roboscape.sources.scene import WRIST, WRIST_NEAREST_M, Scene, SceneKind, make_scene
from roboscape.sources.simulation import camera_id, pose_of_camera


def dataset_spec(
    task: str,
    *,
    cameras: tuple[str, ...],
    image_size: int,
    supersampling: int,
    random_scenes: RandomScenes = "none",
    objects: bool = False,
) -> DatasetSpec:
    """The specification of a dataset, common to all recorded episodes of a task's family.

    Args:
        task: one of the family, whose cameras are measured.
        cameras: as for `MujocoSimulator`, like the rest.
        image_size: height and width in pixels.
        supersampling: drawn so many times as large.
        random_scenes: what is drawn anew in every episode; with `all` no camera stands still.
        objects: whether it is recorded where objects are.
    """
    kind, measured = measured_cameras(task, cameras, image_size)
    nearest_m, farthest_m = DEPTH_RANGE_M if random_scenes == "all" else kind.depth_range_m
    if WRIST in cameras:
        nearest_m = min(nearest_m, WRIST_NEAREST_M)
    unknown = ("world",) if random_scenes == "all" else ()
    specs = camera_specs(cameras, image_size=image_size, supersampling=supersampling)
    return DatasetSpec(
        fps=kind.action.action_hz,
        robot_type=kind.robot_type,
        cameras=tuple(
            spec if found is None or found.mount in unknown else replace(spec, geometry=found)
            for spec, found in zip(specs, measured, strict=True)
        ),
        state_names=kind.state_names,
        object_names=kind.object_names if objects else (),
        action=kind.action,
        depth_min_m=nearest_m,
        depth_max_m=farthest_m,
        source=kind.source,
        random_scenes=random_scenes != "none",
        random_cameras=random_scenes != "colours",
    )


@cache
def measured_cameras(
    task: str, cameras: tuple[str, ...], image_size: int
) -> tuple[SceneKind, tuple[CameraGeometry | None, ...]]:
    """A task's family and where its cameras are, from a scene that is opened for it."""
    scene = make_scene(task, cameras=cameras)
    scene.reset(0, behaviour="random")
    return scene.kind, tuple(
        camera_geometry(scene, name, image_size=image_size) for name in cameras
    )


def camera_geometry(scene: Scene, name: str, *, image_size: int) -> CameraGeometry | None:
    """The geometry of a scene's camera; None where it follows something else than the hand."""
    model, kind = scene.model, scene.kind
    index = camera_id(model, kind.model_camera(name))
    pose = pose_of_camera(model, scene.data, index, height=image_size, width=image_size)
    if kind.model_camera(name) == kind.wrist:
        return geometry_of(pose, hand=hand_pose(kind.state_names, scene.state()))
    still = model.body_weldid[model.cam_bodyid[index]] == 0
    fixed = model.cam_mode[index] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED.value
    return geometry_of(pose) if still and fixed else None


def camera_specs(
    names: tuple[str, ...], *, image_size: int, supersampling: int
) -> tuple[CameraSpec, ...]:
    """Square cameras with depth."""
    return tuple(
        CameraSpec(
            name=name,
            height=image_size,
            width=image_size,
            has_depth=True,
            supersampling=supersampling,
        )
        for name in names
    )
