"""Rendering a MuJoCo scene: RGB, depth in metres and body ids from one pass, right way up."""

import atexit
import weakref
from typing import Any

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.cameras import CameraPose
from roboscape.sources.graphics import mujoco, new_gl_context

VISUAL_GEOM_GROUP = 1
HIDDEN_GROUP = 5


def depth_to_metres(
    buffer: Float[np.ndarray, "h w"], *, near_m: float, far_m: float
) -> Float[np.ndarray, "h w"]:
    """Invert MuJoCo's reversed depth buffer (1 at the near plane, 0 at the far plane) exactly."""
    return near_m * far_m / (near_m + buffer.astype(np.float64) * (far_m - near_m))


def may_be_seen(
    centres_m: Float[np.ndarray, "k 3"], radii_m: Float[np.ndarray, " k"], camera: CameraPose
) -> Bool[np.ndarray, " k"]:
    """True where spheres reach into a camera's view; radius 0: boundless (MuJoCo's planes)."""
    local = (centres_m - camera.position_m) @ camera.camera_to_world
    inside = -local[:, 2] > -radii_m
    for axis, extent_px in ((0, camera.width), (1, camera.height)):
        slope = extent_px / 2 / camera.focal_px
        beyond_m = (np.abs(local[:, axis]) + local[:, 2] * slope) / np.hypot(1, slope)
        inside &= beyond_m < radii_m
    return inside | (radii_m == 0)


class SceneRenderer:
    """One camera of one MuJoCo model, rendered off screen without shadows or reflections.

    A single pass gives RGB and depth together, where MuJoCo's own `Renderer` draws the scene twice,
    and what lies outside the view is not drawn: most of a robot's triangles are. With
    `supersampling` s the scene is drawn s times as large and s × s pixels are averaged, as a real
    camera's pixels integrate light; depth and bodies are those of one of them, never a mean.
    """

    def __init__(
        self,
        model: Any,
        *,
        camera: str,
        height: int,
        width: int,
        geom_groups: tuple[int, ...] = (VISUAL_GEOM_GROUP,),
        supersampling: int = 1,
    ) -> None:
        self._height, self._width, self._samples = height, width, supersampling
        height, width = height * supersampling, width * supersampling
        self._model = model
        self._camera_id = camera_id(model, camera)
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        self._gl_context = new_gl_context(height, width)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=10_000)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = [group in geom_groups for group in range(6)]
        self._options.sitegroup[:] = 0
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = self._camera_id
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._groups = model.geom_group.copy()
        self._free = weakref.finalize(self, _free, self._context, self._gl_context)
        # At the interpreter's end too, and, registered last, before MuJoCo closes its display.
        self._free.atexit = False
        atexit.register(self._free)

    def render(self, data: Any) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
        """RGB and depth along the optical axis in metres, of the simulation's present state."""
        rgb, buffer = self._draw(data, body_colours=False)
        extent = self._model.stat.extent
        depth_m = depth_to_metres(
            buffer,
            near_m=self._model.vis.map.znear * extent,
            far_m=self._model.vis.map.zfar * extent,
        )
        if self._samples > 1:
            # cv2's area interpolation by a whole factor is the mean of the square.
            rgb = np.asarray(
                cv2.resize(rgb, (self._width, self._height), interpolation=cv2.INTER_AREA), np.uint8
            )
        return rgb, self._one_sample(depth_m).astype(np.float32)

    def render_bodies(self, data: Any) -> Int[np.ndarray, "h w"]:
        """The id of the body seen in each pixel; 0 (the world) where there is none."""
        colours, _ = self._draw(data, body_colours=True)
        segment = rearrange(colours.astype(np.int64), "h w c -> c h w")
        segment = segment[0] + (segment[1] << 8) + (segment[2] << 16)
        body_of_segment = np.zeros(self._scene.ngeom + 1, dtype=np.int64)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                body_of_segment[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return self._one_sample(body_of_segment[segment])

    def camera_pose(self, data: Any) -> CameraPose:
        """The present pose of the camera."""
        return pose_of_camera(
            self._model, data, self._camera_id, height=self._height, width=self._width
        )

    def close(self) -> None:
        """Free the graphics context."""
        self._free()

    def _one_sample(self, image: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "y x"]:
        """The sample nearest to the middle of every pixel."""
        middle = slice(self._samples // 2, None, self._samples)
        return image[middle, middle]

    def _draw(
        self, data: Any, *, body_colours: bool
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
        """One pass over the scene; OpenGL's first row is the lowest, so both images are flipped."""
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        seen = may_be_seen(data.geom_xpos, self._model.geom_rbound, self.camera_pose(data))
        self._model.geom_group[:] = np.where(seen, self._groups, HIDDEN_GROUP)
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, self._view, everything, self._scene
        )
        self._model.geom_group[:] = self._groups
        flags = mujoco.mjtRndFlag
        self._scene.flags[flags.mjRND_SHADOW] = False
        self._scene.flags[flags.mjRND_REFLECTION] = False
        self._scene.flags[flags.mjRND_SEGMENT] = body_colours
        self._scene.flags[flags.mjRND_IDCOLOR] = body_colours
        height, width = self._rectangle.height, self._rectangle.width
        rgb = np.empty((height, width, 3), np.uint8)
        buffer = np.empty((height, width), np.float32)
        self._gl_context.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(rgb, buffer, self._rectangle, self._context)
        return np.flipud(rgb), np.flipud(buffer)


def pose_of_camera(model: Any, data: Any, index: int, *, height: int, width: int) -> CameraPose:
    """The present pose of one of a model's cameras."""
    fov_rad = np.deg2rad(model.cam_fovy[index])
    return CameraPose(
        position_m=data.cam_xpos[index].copy(),
        camera_to_world=data.cam_xmat[index].reshape(3, 3).copy(),
        focal_px=float(height / 2 / np.tan(fov_rad / 2)),
        height=height,
        width=width,
    )


def _free(context: Any, gl_context: Any) -> None:
    """Free what a renderer holds."""
    # OpenGL deletes from the current context, which may be another renderer's.
    gl_context.make_current()
    context.free()
    gl_context.free()


def set_camera_upright(model: Any, data: Any, camera: str) -> None:
    """Turn a fixed camera by half a turn about its axis where the world hangs upside down in it."""
    index = camera_id(model, camera)
    image_up = data.cam_xmat[index].reshape(3, 3)[:, 1]
    if image_up[2] >= 0:
        return
    half_turn = np.array([0.0, 0.0, 0.0, 1.0])
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, model.cam_quat[index], half_turn)
    model.cam_quat[index] = turned
    mujoco.mj_forward(model, data)


def camera_id(model: Any, name: str) -> int:
    """The camera's number; an unknown name is an error that lists the known ones."""
    names = [model.camera(index).name for index in range(model.ncam)]
    if name not in names:
        raise UserError(f"this simulation has no camera {name!r}; it has {', '.join(names)}")
    return names.index(name)
