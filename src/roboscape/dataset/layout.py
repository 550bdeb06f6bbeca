"""The paths of a LeRobot dataset, and the description of its features (`meta/info.json`)."""

from typing import Any

from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.records import CameraSpec, DatasetSpec

FORMAT_VERSION = "v3.0"
READABLE_VERSIONS = ("v2.0", "v2.1", "v3.0")

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
SPEC_PATH = "meta/roboscape.json"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000

IMAGE_PREFIX = "observation.images."
DEPTH_SUFFIX = "_depth"
STATE_KEY = "observation.state"
OBJECTS_KEY = "observation.environment_state"
ACTION_KEY = "action"
REWARD_KEY = "next.reward"
DONE_KEY = "next.done"
SUCCESS_KEY = "next.success"


def image_key(camera: str) -> str:
    """Feature of a camera's colour images."""
    return IMAGE_PREFIX + camera


def depth_key(camera: str) -> str:
    """Feature of a camera's depth images."""
    return IMAGE_PREFIX + camera + DEPTH_SUFFIX


def depth_codec(spec: DatasetSpec) -> DepthCodec:
    """The way in which this project writes the depth of a dataset (LeRobot's shift set to 0)."""
    return DepthCodec(minimum_m=spec.depth_min_m, maximum_m=spec.depth_max_m)


def features(spec: DatasetSpec) -> dict[str, dict[str, Any]]:
    """The `features` entry of `meta/info.json`, as LeRobot 0.6 writes it."""
    content: dict[str, dict[str, Any]] = {}
    for camera in spec.cameras:
        content[image_key(camera.name)] = _video_feature(camera, spec=spec)
        if camera.has_depth:
            content[depth_key(camera.name)] = _depth_feature(camera, spec=spec)
    if spec.state_names:
        content[STATE_KEY] = _vector(spec.state_names)
    if spec.object_names:
        content[OBJECTS_KEY] = _vector(spec.object_names)
    content[ACTION_KEY] = _vector(spec.action.names)
    for key, kind in (
        (REWARD_KEY, "float32"),
        (DONE_KEY, "bool"),
        (SUCCESS_KEY, "bool"),
        ("timestamp", "float32"),
        ("frame_index", "int64"),
        ("episode_index", "int64"),
        ("index", "int64"),
        ("task_index", "int64"),
    ):
        content[key] = {"dtype": kind, "shape": [1], "names": None}
    return content


def info(spec: DatasetSpec, *, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """The whole of `meta/info.json`."""
    return {
        "codebase_version": FORMAT_VERSION,
        "fps": _whole_if_possible(spec.fps),
        "features": features(spec),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "robot_type": spec.robot_type,
        "splits": {"train": f"0:{episodes}"},
    }


def _vector(names: tuple[str, ...]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def _video_feature(camera: CameraSpec, *, spec: DatasetSpec) -> dict[str, Any]:
    return {
        "dtype": "video",
        "shape": [camera.height, camera.width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": camera.height,
            "video.width": camera.width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.fps": _whole_if_possible(spec.fps),
            "video.channels": 3,
            "has_audio": False,
            "is_depth_map": False,
        },
    }


def _depth_feature(camera: CameraSpec, *, spec: DatasetSpec) -> dict[str, Any]:
    codec = depth_codec(spec)
    return {
        "dtype": "video",
        "shape": [camera.height, camera.width, 1],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": camera.height,
            "video.width": camera.width,
            "video.codec": "hevc",
            "video.pix_fmt": "gray12le",
            "video.fps": _whole_if_possible(spec.fps),
            "video.channels": 1,
            "has_audio": False,
            "is_depth_map": True,
            "depth_unit": "m",
            "video.depth_min": codec.minimum_m,
            "video.depth_max": codec.maximum_m,
            "video.shift": codec.shift_m,
            "video.use_log": codec.use_log,
        },
    }


def _whole_if_possible(fps: float) -> float | int:
    """LeRobot's frame rates are whole numbers."""
    return int(fps) if fps == int(fps) else fps
