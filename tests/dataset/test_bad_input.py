"""Every way in which somebody's dataset can be broken: said clearly, and the rest stays usable."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboscape.core.video import VideoWriter
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter

MakeEpisode = Callable[..., Episode]
DATA = "data/chunk-000/file-001.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-001.mp4"


def change_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def assert_others_are_usable(root: Path) -> None:
    """Episodes 2 and 3 share the broken files; the others do not."""
    read = LeRobotDataset(root)
    for episode in (0, 1, 4):
        assert len(read.episode(episode)) == 12 + episode


def test_truncated_video(dataset: Path) -> None:
    path = dataset / VIDEO
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"episode 2 of .*file-001\.mp4 cannot be decoded.*copy"):
        LeRobotDataset(dataset).episode(2)
    assert_others_are_usable(dataset)


def test_missing_video(dataset: Path) -> None:
    (dataset / VIDEO).unlink()
    with pytest.raises(ValueError, match=r"expected a video at .*file-001\.mp4, found none"):
        LeRobotDataset(dataset).frames(3, "front")
    assert_others_are_usable(dataset)


def test_missing_parquet_column(dataset: Path) -> None:
    change_table(dataset / DATA, lambda table: table.drop_columns(["action"]))
    with pytest.raises(ValueError, match=r"episode 2 in .*lacks the column 'action'.*leave"):
        LeRobotDataset(dataset).actions(2)
    assert_others_are_usable(dataset)


def test_truncated_parquet(dataset: Path) -> None:
    path = dataset / DATA
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"file-001\.parquet is not a readable Parquet file"):
        LeRobotDataset(dataset).actions(2)
    assert_others_are_usable(dataset)


def test_nan_action(dataset: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        actions = np.array(table["action"].to_pylist(), np.float32)
        actions[14 + 5, 2] = np.nan
        column = pa.array(actions.tolist(), pa.list_(pa.float32(), 3))
        return table.set_column(table.column_names.index("action"), "action", column)

    change_table(dataset / DATA, spoil)
    read = LeRobotDataset(dataset)
    assert len(read.actions(2)) == 14
    with pytest.raises(ValueError, match=r"episode 3 in .*action row 5, dimension 2 is nan"):
        read.actions(3)
    assert_others_are_usable(dataset)


def test_wrong_action_width(dataset: Path) -> None:
    def narrow(table: pa.Table) -> pa.Table:
        column = pa.array([row[:2] for row in table["action"].to_pylist()])
        return table.set_column(table.column_names.index("action"), "action", column)

    change_table(dataset / DATA, narrow)
    with pytest.raises(ValueError, match=r"expected action rows of 3 numbers, got 2"):
        LeRobotDataset(dataset).actions(2)
    assert_others_are_usable(dataset)


def test_more_rows_than_frames(dataset: Path, make_episode: MakeEpisode) -> None:
    with VideoWriter(dataset / VIDEO, fps=20.0, height=32, width=32) as video:
        video.write(make_episode(2, length=14).frames["front"])
        video.write(make_episode(3, length=11).frames["front"])
    read = LeRobotDataset(dataset)
    assert len(read.episode(2)) == 14
    with pytest.raises(ValueError, match=r"episode 3 of .*ends too early.*11 of 15"):
        read.episode(3)
    assert_others_are_usable(dataset)


def test_lengths_of_videos_are_checked_without_decoding(dataset: Path) -> None:
    read = LeRobotDataset(dataset)
    assert read.missing_frames(range(5)) == {}
    with VideoWriter(dataset / VIDEO, fps=20.0, height=32, width=32) as video:
        video.write(np.zeros((14 + 11, 32, 32, 3), np.uint8))
    (dataset / VIDEO.replace("file-001", "file-002")).unlink()
    problems = read.missing_frames(range(5))
    assert set(problems) == {3, 4}
    assert "holds 25 frames where the rows need 29" in problems[3]
    assert "found none" in problems[4]


def test_fewer_rows_than_frames(dataset: Path) -> None:
    change_table(dataset / DATA, lambda table: table.slice(0, 25))
    read = LeRobotDataset(dataset)
    assert len(read.episode(2)) == 14
    with pytest.raises(ValueError, match=r"episode 3 in .*expected 15 rows .* found 11"):
        read.episode(3)
    assert_others_are_usable(dataset)


def test_unknown_format_version(dataset: Path) -> None:
    path = dataset / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codebase_version": "v9.0"}))
    with pytest.raises(ValueError, match=r"info\.json says format 'v9\.0'; .*v2\.0, v2\.1, v3\.0"):
        LeRobotDataset(dataset)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta/info.json", r"not a LeRobot dataset: expected meta/info\.json"),
        ("meta/episodes/chunk-000/file-001.parquet", "promises 5 episodes, .* describes 3"),
    ],
)
def test_missing_meta_file(dataset: Path, name: str, message: str) -> None:
    (dataset / name).unlink()
    with pytest.raises(ValueError, match=message):
        LeRobotDataset(dataset)


def test_broken_meta_file(dataset: Path) -> None:
    path = dataset / "meta/info.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"info\.json is not valid JSON"):
        LeRobotDataset(dataset)


def test_unknown_key_in_the_spec(dataset: Path) -> None:
    path = dataset / "meta/roboscape.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    with pytest.raises(ValueError, match=r"roboscape\.json is not a valid DatasetSpec.*colour"):
        LeRobotDataset(dataset)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", np.zeros((12, 4), np.float32), r"expected action rows of 3 numbers.*\(12, 4\)"),
        ("state", np.zeros((11, 2), np.float32), "11 state rows for 12 actions"),
        ("state", np.full((12, 2), np.inf, np.float32), "state row 0, dimension 0 is inf"),
        ("frames", {}, r"has the cameras \['front', 'wrist'\], the episode brings \[\]"),
        ("depth_m", {}, r"has the depth of cameras \['front'\], the episode brings \[\]"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(
    tmp_path: Path,
    spec: DatasetSpec,
    make_episode: MakeEpisode,
    name: str,
    value: object,
    message: str,
) -> None:
    episode = make_episode()
    # Past the constructor, which refuses some of these itself when shapes are checked.
    object.__setattr__(episode, name, value)
    with DatasetWriter(tmp_path, spec) as writer, pytest.raises(ValueError, match=message):
        writer.add(episode)


def test_images_of_another_size_are_refused(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    episode = make_episode()
    episode.frames["wrist"] = episode.frames["wrist"][:, :30]
    with DatasetWriter(tmp_path, spec) as writer, pytest.raises(ValueError, match="wrist promises"):
        writer.add(episode)


def test_depth_with_nan_is_refused(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    episode = make_episode()
    episode.depth_m["front"][3, 1, 1] = np.nan
    with DatasetWriter(tmp_path, spec) as writer, pytest.raises(ValueError, match="with 1 NaN"):
        writer.add(episode)


def test_an_episode_or_camera_that_is_not_there(dataset: Path) -> None:
    read = LeRobotDataset(dataset)
    with pytest.raises(ValueError, match="episodes 0 to 4, got episode 5"):
        read.actions(5)
    with pytest.raises(ValueError, match=r"no camera 'side'; it has: front, wrist$"):
        read.frames(0, "side")
    with pytest.raises(ValueError, match=r"'wrist' of .* recorded no depth"):
        read.depth_m(0, "wrist")
