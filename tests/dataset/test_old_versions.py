"""Datasets of LeRobot's earlier formats, written by hand here, opened where they lie."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from roboscape.core.video import VideoWriter
from roboscape.dataset.reader import LeRobotDataset

sys.path.insert(0, str(Path(__file__).parent))
from old_versions import LENGTHS, TOP, actions_of, frames_of, write_dataset, write_lines


def write_statistics(root: Path, *, version: str) -> None:
    """What v2.0 keeps of all episodes and v2.1 of each; neither is needed to read one."""
    of_actions = {"action": {"min": [0.0, 0.0], "max": [1.0, 1.0]}}
    if version == "v2.0":
        (root / "meta/stats.json").write_text(json.dumps(of_actions))
    else:
        rows = [{"episode_index": number, "stats": of_actions} for number in range(2)]
        write_lines(root / "meta/episodes_stats.jsonl", rows)


def add_depth(root: Path, *, kind: type, unit: str | None) -> np.ndarray:
    """Depth beside the only camera, as lerobot keeps it as images: raw TIFF; returns metres."""
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][f"{TOP}_depth"] = {
        "dtype": "image",
        "shape": [16, 24, 1],
        "names": ["height", "width", "channels"],
        "info": {"is_depth_map": True} | ({"depth_unit": unit} if unit else {}),
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    y, x = np.mgrid[:16, :24]
    depth_m = np.stack([0.4 + 0.01 * x + 0.02 * y + 0.1 * t for t in range(LENGTHS[0])])
    path = root / "data/chunk-000/episode_000000.parquet"
    stored = depth_m if kind is np.float32 else np.rint(depth_m * 1000)
    images = pa.array([tiff(image.astype(kind)) for image in stored])
    pq.write_table(pq.read_table(path).append_column(f"{TOP}_depth", images), path)
    return depth_m


def tiff(image: np.ndarray) -> dict:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="TIFF", compression="raw")
    return {"bytes": file.getvalue(), "path": "frame-000000.tiff"}


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
@pytest.mark.parametrize("image_kind", ["video", "image"])
def test_an_old_dataset_is_read_in_place(tmp_path: Path, version: str, image_kind: str) -> None:
    write_dataset(tmp_path, version=version, image_kind=image_kind)
    write_statistics(tmp_path, version=version)
    read = LeRobotDataset(tmp_path)
    assert read.version == version
    assert read.num_episodes == 2
    assert read.spec.fps == 30
    assert read.spec.robot_type == "so100"
    (camera,) = read.spec.cameras
    assert (camera.name, camera.height, camera.width) == ("top", 16, 24)
    assert read.spec.state_names == ("a", "b")
    assert read.spec.action.names == ("action_0", "action_1")
    for number in (1, 0):
        episode = read.episode(number)
        assert np.array_equal(episode.actions, actions_of(number))
        assert np.array_equal(episode.state, -actions_of(number))
        assert np.array_equal(episode.reward, np.zeros(LENGTHS[number]))
        error = np.abs(episode.frames["top"].astype(int) - frames_of(number))
        assert error.max() == 0 if image_kind == "image" else error.mean() < 10
        assert (episode.task, episode.seed, episode.tracks) == ("stack", number, {})
    assert read.episode_info(0).success is None
    assert np.array_equal(read.frames(1, "top", slice(2, 7, 2)), read.frames(1, "top")[2:7:2])


@pytest.mark.parametrize("image_kind", ["video", "image"])
@pytest.mark.parametrize(
    ("kind", "unit"), [(np.uint16, "mm"), (np.float32, "m"), (np.uint16, None), (np.float32, None)]
)
def test_depth_kept_as_images_is_read_in_metres(tmp_path, image_kind, kind, unit) -> None:
    write_dataset(tmp_path, version="v2.1", image_kind=image_kind)
    depth_m = add_depth(tmp_path, kind=kind, unit=unit)
    read = LeRobotDataset(tmp_path)
    (camera,) = read.spec.cameras
    assert camera.has_depth
    np.testing.assert_allclose(read.depth_m(0, "top"), depth_m, atol=6e-4)
    np.testing.assert_allclose(read.depth_m(0, "top", slice(2, 5)), depth_m[2:5], atol=6e-4)


def test_images_whose_axes_are_not_named(tmp_path: Path) -> None:
    write_dataset(tmp_path, version="v2.0", image_kind="image")
    info = json.loads((tmp_path / "meta/info.json").read_text())
    for shape in ([3, 16, 24], [16, 24, 3]):
        info["features"][TOP] |= {"shape": shape, "names": None}
        (tmp_path / "meta/info.json").write_text(json.dumps(info))
        (camera,) = LeRobotDataset(tmp_path).spec.cameras
        assert (camera.height, camera.width) == (16, 24)


def test_nothing_is_known_about_its_actions(tmp_path: Path) -> None:
    write_dataset(tmp_path, version="v2.1", image_kind="video")
    convention = LeRobotDataset(tmp_path).spec.action
    assert not convention.known
    assert convention.action_hz == 30


def test_a_video_longer_than_its_episode_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, version="v2.1", image_kind="video")
    path = tmp_path / f"videos/chunk-000/{TOP}/episode_000000.mp4"
    path.unlink()
    with VideoWriter(path, fps=30.0, height=16, width=24) as video:
        video.write(np.repeat(frames_of(0), 2, axis=0))
    read = LeRobotDataset(tmp_path)
    with pytest.raises(ValueError, match="holds 18 frames where the rows need 9"):
        read.frames(0, "top")
    assert len(read.frames(1, "top")) == 7


def test_missing_episode_lines_are_said(tmp_path: Path) -> None:
    write_dataset(tmp_path, version="v2.1", image_kind="video")
    (tmp_path / "meta/episodes.jsonl").unlink()
    with pytest.raises(ValueError, match=r"expected .*episodes\.jsonl, found none"):
        LeRobotDataset(tmp_path)
    write_lines(tmp_path / "meta/episodes.jsonl", [{"episode_index": 0, "tasks": [], "length": 9}])
    with pytest.raises(ValueError, match=r"promises 2 episodes, .* describes 1"):
        LeRobotDataset(tmp_path)
