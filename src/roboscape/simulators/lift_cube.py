"""The cube of Lift, read off RGB and depth: where it is, and whether it left the table.

The rule, the same for true and imagined video:

1. The cube is the largest connected patch of red: pixels whose red level exceeds both other
   channels by more than 40 and stays below 220 (which leaves out the gripper's pure red lamp). It
   must fill a quarter of a percent of the image (41 pixels at 128 x 128, nearly half of a cube
   that nothing hides); below that the cube counts as not seen.
2. The table is the plane that explains most of the given frame's depth. Seen by a pinhole camera, a
   plane's inverse depth is linear in the pixel coordinates, so no camera parameters are needed.
3. A pixel with depth z, where the table behind it would have depth z_table, lies at the height
   1 - z / z_table above the table, as a fraction of the camera's own height above it. The cube's
   height is the lower quartile over its pixels: three quarters of them must lie higher, which the
   hand's depth bleeding into the cube's edge can't do.
4. The cube rose if its height exceeds 0.145 in any frame, about 5 cm. Resting cubes read up to
   0.09, lifted ones mostly 0.16 and more.

The image row alone would not do: a cube that is carried towards the camera sinks in the picture
while it rises in the world. Depth is needed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.core.errors import UserError

RED_EXCESS = 40
LAMP_LEVEL = 220
SMALLEST_CUBE = 0.0025
"""The share of the image that a cube must fill to be seen."""
HEIGHT_QUANTILE = 0.25
RISE_HEIGHT = 0.145
PLANE_ITERATIONS = 20
PLANE_TOLERANCE = 0.005
"""Relative deviation of inverse depth up to which a pixel belongs to the table."""
PLANE_FIRST_TOLERANCE = 0.1
PLANE_TIGHTENING = 0.7
SMALLEST_TABLE = 0.2
"""The share of the image that the table must fill."""
TABLE_TOP_ROW = 0.3
"""The fit starts from the pixels below this fraction of the image's height."""


@dataclass(frozen=True, kw_only=True)
class CubeSighting:
    """The cube in every frame of one video; NaN where it is not seen."""

    height: Float[np.ndarray, " t"]
    """Above the table, as a fraction of the camera's height above it."""
    centre_px: Float[np.ndarray, "t 2"]
    """Centre of the patch, x right, y down."""

    @property
    def rose(self) -> bool:
        """True where the cube left the table in any frame."""
        return bool(np.nanmax(self.height, initial=0.0) > RISE_HEIGHT)

    @property
    def seen(self) -> Bool[np.ndarray, " t"]:
        """In which frames the cube is visible."""
        return np.isfinite(self.height)


def watch_cube(
    rgb: UInt8[np.ndarray, "t h w 3"],
    depth_m: Float[np.ndarray, "t h w"],
    *,
    table: Float[np.ndarray, "h w"],
) -> CubeSighting:
    """Follow the cube through a video.

    Args:
        rgb: frames.
        depth_m: their depth.
        table: inverse depth of the table in every pixel, from `table_inverse_depth`.
    """
    height = np.full(len(rgb), np.nan)
    centre_px = np.full((len(rgb), 2), np.nan)
    for t, (frame, depth) in enumerate(zip(rgb, depth_m, strict=True)):
        patch = cube_patch(frame)
        if patch is not None:
            height[t] = np.quantile(1 - depth[patch] * table[patch], HEIGHT_QUANTILE)
            centre_px[t] = np.argwhere(patch).mean(axis=0)[::-1]
    return CubeSighting(height=height, centre_px=centre_px)


def cube_patch(frame: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"] | None:
    """The pixels of the cube, or None where they are too few."""
    level = frame.astype(np.int16)
    red = level[..., 0]
    excess = red - np.maximum(level[..., 1], level[..., 2])
    is_red = ((excess > RED_EXCESS) & (red < LAMP_LEVEL)).astype(np.uint8)
    _, labels, areas, _ = cv2.connectedComponentsWithStats(is_red, connectivity=8)
    patch_areas = areas[1:, cv2.CC_STAT_AREA]
    if not patch_areas.size or patch_areas.max() < SMALLEST_CUBE * is_red.size:
        return None
    return np.asarray(labels) == 1 + patch_areas.argmax()


def table_inverse_depth(depth_m: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Inverse depth (1/m) of the dominant plane, in every pixel, by trimmed least squares."""
    height, width = depth_m.shape
    row, column = np.mgrid[:height, :width]
    design = np.stack([column / width, row / height, np.ones_like(depth_m)], axis=-1)
    inverse = 1 / np.maximum(depth_m.astype(np.float64), 1e-6)
    inside = row > TABLE_TOP_ROW * height
    plane = inverse
    for iteration in range(PLANE_ITERATIONS):
        coefficients, *_ = np.linalg.lstsq(design[inside], inverse[inside], rcond=None)
        plane = design @ coefficients
        tolerance = max(PLANE_TOLERANCE, PLANE_FIRST_TOLERANCE * PLANE_TIGHTENING**iteration)
        inside = np.abs(plane / inverse - 1) < tolerance
        if inside.mean() < SMALLEST_TABLE:
            raise UserError(
                "expected a table in view: no plane explains the depth of the first frame. The "
                "cube test is made for robosuite's Lift; switch it off (`--tasks off`) elsewhere"
            )
    return plane
