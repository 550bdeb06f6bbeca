"""Describing a dataset that another program wrote: its cameras, its names, what is not known."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from roboscape.core.config import load_config
from roboscape.core.errors import UserError
from roboscape.dataset import layout
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.depth_codec import MILLIMETRES_PER_METRE, DepthCodec
from roboscape.dataset.records import CameraSpec, DatasetSpec

_LOG = logging.getLogger(__name__)

# LeRobot's defaults for what a dataset leaves open.
_FIRST = ["channels", "height", "width"]
_METRES_PER_UNIT = {"m": 1.0, "mm": 1 / MILLIMETRES_PER_METRE}
_LEROBOT_DEPTH = {"depth_min": 0.01, "depth_max": 10.0, "shift": 3.5, "use_log": True}


@dataclass(frozen=True, kw_only=True)
class CameraFeatures:
    """The features that hold one camera."""

    image: str
    depth: str | None
    depth_codec: DepthCodec | None
    """How a depth video is coded; None where there is no depth or it is kept as images."""
    metres_per_depth_unit: float | None
    """Of depth kept as images; None where the dataset does not name it."""

    def depth_of_images(self, images: Shaped[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
        """Metres of depth kept as images; of an unknown unit, integers are millimetres."""
        metres = self.metres_per_depth_unit
        if metres is None:
            metres = 1.0 if images.dtype.kind == "f" else 1 / MILLIMETRES_PER_METRE
        return images.astype(np.float32) * np.float32(metres)


def dataset_spec(root: Path, info: dict[str, Any], *, source: str) -> DatasetSpec:
    """The spec that this program wrote, else one made from `meta/info.json`."""
    path = root / layout.SPEC_PATH
    if path.exists():
        return load_config(DatasetSpec, path)
    cameras = camera_features(info)
    codecs = [camera.depth_codec for camera in cameras.values() if camera.depth_codec]
    features = info["features"]
    return DatasetSpec(
        fps=float(info["fps"]),
        robot_type=info.get("robot_type") or "unknown",
        cameras=tuple(
            CameraSpec(
                name=name,
                height=height,
                width=width,
                has_depth=keys.depth is not None,
            )
            for name, keys in cameras.items()
            for height, width in [_size(features[keys.image])]
        ),
        state_names=_names(features.get(layout.STATE_KEY), prefix="state"),
        action=unknown_convention(
            _names(features.get(layout.ACTION_KEY), prefix="action"), action_hz=float(info["fps"])
        ),
        depth_min_m=min((codec.minimum_m for codec in codecs), default=0.1),
        depth_max_m=max((codec.maximum_m for codec in codecs), default=10.0),
        source=source,
    )


def camera_features(info: dict[str, Any]) -> dict[str, CameraFeatures]:
    """The cameras of a dataset by name: the feature less `observation.images.`."""
    features = info["features"]
    visual = {key: ft for key, ft in features.items() if ft["dtype"] in ("video", "image")}
    images = [key for key, feature in visual.items() if not _is_depth(feature)]
    depths = [key for key, feature in visual.items() if _is_depth(feature)]
    cameras: dict[str, CameraFeatures] = {}
    for key in images:
        depth = _depth_of(key, images=images, depths=depths)
        details = _details(features[depth]) if depth else {}
        cameras[camera_name(key)] = CameraFeatures(
            image=key,
            depth=depth,
            depth_codec=_codec(details) if depth and visual[depth]["dtype"] == "video" else None,
            metres_per_depth_unit=_METRES_PER_UNIT.get(details.get("depth_unit", "")),
        )
    used = {camera.depth for camera in cameras.values()}
    for key in depths:
        if key not in used:
            _LOG.warning(
                "depth feature %s is left out: no camera named like it without %r",
                key,
                layout.DEPTH_SUFFIX,
            )
    return cameras


def chosen_cameras(
    cameras: dict[str, CameraFeatures], names: tuple[str, ...], *, where: str
) -> dict[str, CameraFeatures]:
    """The cameras of these names, in the dataset's order; all where none is named."""
    if unknown := [name for name in names if name not in cameras]:
        raise UserError(
            f"{where} has no camera {', '.join(unknown)}; it has: {', '.join(cameras) or 'none'}"
        )
    return {name: camera for name, camera in cameras.items() if not names or name in names}


def camera_name(key: str) -> str:
    """`top` for `observation.images.top`; `image` for `observation.image`."""
    return key.removeprefix(layout.IMAGE_PREFIX).removeprefix("observation.")


def _depth_of(image: str, *, images: list[str], depths: list[str]) -> str | None:
    """The depth feature of a colour feature: named like it, or the only one beside the only one."""
    if image + layout.DEPTH_SUFFIX in depths:
        return image + layout.DEPTH_SUFFIX
    return depths[0] if len(images) == len(depths) == 1 else None


def _details(feature: dict[str, Any]) -> dict[str, Any]:
    """The description of a video, which has had two names."""
    return feature.get("info") or feature.get("video_info") or {}


def _is_depth(feature: dict[str, Any]) -> bool:
    details = _details(feature)
    return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def _codec(details: dict[str, Any]) -> DepthCodec:
    found = {
        name: details.get(f"video.{name}", default) for name, default in _LEROBOT_DEPTH.items()
    }
    return DepthCodec(
        minimum_m=float(found["depth_min"]),
        maximum_m=float(found["depth_max"]),
        shift_m=float(found["shift"]),
        use_log=bool(found["use_log"]),
    )


def _size(feature: dict[str, Any]) -> tuple[int, int]:
    """Height and width; the order of a feature's axes is in its names, channels last if unsaid."""
    first, *_, last = feature["shape"]
    unsaid = ["height", "width", "channels"] if last in (1, 3) or first not in (1, 3) else _FIRST
    shape = dict(zip(feature.get("names") or unsaid, feature["shape"], strict=True))
    return int(shape["height"]), int(shape["width"])


def _names(feature: dict[str, Any] | None, *, prefix: str) -> tuple[str, ...]:
    """Names of a vector's dimensions; LeRobot keeps a list, a dictionary of lists, or nothing."""
    if feature is None:
        return ()
    names, size = feature.get("names"), feature["shape"][0]
    if isinstance(names, dict):
        lists = [value for value in names.values() if isinstance(value, list)]
        names = lists[0] if lists else list(names)
    if not names or len(names) != size:
        return tuple(f"{prefix}_{number}" for number in range(size))
    return tuple(str(name) for name in names)
