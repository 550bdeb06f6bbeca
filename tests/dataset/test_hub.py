"""Datasets opened by their names on a hub; the hub is one on this machine that notes its work."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from roboscape.core.files import read_json, write_json
from roboscape.dataset import layout
from roboscape.dataset.annotations import annotations_folder
from roboscape.dataset.hub import PIN_FILE, HubName, Part, home_of, hub_name
from roboscape.dataset.reader import LeRobotDataset, open_dataset

sys.path.insert(0, str(Path(__file__).parent))
from hub_server import COMMIT, Hub, serve
from old_versions import TOP, actions_of, write_dataset

NAME = "hf://lab/cubes"
SIDE = 64


@pytest.fixture
def hub(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub that has the dataset of five episodes in three files of each kind."""
    shutil.copytree(dataset, tmp_path / "hub/lab/cubes")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    with serve(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def fetched(hub: Hub, *, under: str = "") -> set[str]:
    return {name for name in hub.sent if name.startswith(under)}


@pytest.mark.parametrize("slashes", ["hf://", "hf:/", "hf://datasets/"])
def test_names(slashes):
    assert hub_name(f"{slashes}lab/cubes") == HubName(repository="lab/cubes")
    found = hub_name(Path(f"{slashes}lab/cubes@v2.1?episodes=3:9&cameras=top,wrist"))
    part = Part(start=3, stop=9, cameras=("top", "wrist"))
    assert found == HubName(repository="lab/cubes", revision="v2.1", part=part)
    assert hub_name(f"{slashes}lab/cubes?episodes=7").part == Part(stop=7)
    assert hub_name(f"{slashes}lab/cubes?episodes=4:").part == Part(start=4)


@pytest.mark.parametrize(
    "text",
    [
        "hf://cubes",
        "hf://lab/cubes?episode=3",
        "hf://lab/cubes?episodes=a:b",
        "hf://lab/cubes?episodes=5:5",
        "hf://lab/cubes?episodes=1:2:3",
    ],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        hub_name(text)


def test_a_folder_is_no_name():
    assert hub_name(Path("data/hf")) is None
    assert home_of(Path("data/mine")) == Path("data/mine")
    assert annotations_folder(Path("data/mine")) == Path("data/mine/annotations")


def test_opening_fetches_the_description_alone(hub, dataset):
    read = LeRobotDataset(Path(NAME))
    assert read.num_episodes == 5
    assert read.spec == LeRobotDataset(dataset).spec
    assert fetched(hub) == fetched(hub, under="meta/")
    assert layout.INFO_PATH in fetched(hub)


def test_what_is_read_is_what_is_stored_and_nothing_else_is_fetched(hub, dataset):
    read, stored = LeRobotDataset(Path(NAME)), LeRobotDataset(dataset)
    np.testing.assert_array_equal(read.actions(2), stored.actions(2))
    # Episodes 2 and 3 share the second file of each kind.
    assert fetched(hub, under="data/") == {"data/chunk-000/file-001.parquet"}
    assert fetched(hub, under="videos/") == set()
    np.testing.assert_array_equal(read.frames(3, "wrist"), stored.frames(3, "wrist"))
    wrist = "videos/observation.images.wrist/chunk-000/file-001.mp4"
    assert fetched(hub, under="videos/") == {wrist}
    np.testing.assert_array_equal(read.depth_m(3, "front"), stored.depth_m(3, "front"))
    depth = "videos/observation.images.front_depth/chunk-000/file-001.mp4"
    assert fetched(hub, under="videos/") == {wrist, depth}


def test_a_part_is_fetched_whole_and_alone(hub, dataset):
    read = open_dataset(NAME, episodes=slice(2, 4), cameras=("front",))
    read.fetch()
    stored = LeRobotDataset(dataset)
    assert fetched(hub, under="data/") == {"data/chunk-000/file-001.parquet"}
    assert fetched(hub, under="videos/") == {
        f"videos/observation.images.{name}/chunk-000/file-001.mp4"
        for name in ("front", "front_depth")
    }
    assert [camera.name for camera in read.spec.cameras] == ["front"]
    assert read.num_episodes == 2
    for number in range(2):
        assert read.episode_info(number) == replace(stored.episode_info(2 + number), index=number)
        np.testing.assert_array_equal(read.actions(number), stored.actions(2 + number))
        frames = stored.frames(2 + number, "front")
        np.testing.assert_array_equal(read.frames(number, "front"), frames)
    before = dict(hub.sent)
    assert read.missing_frames(range(2)) == {}
    assert read.episode(1).tracks == {}
    assert hub.sent == before
    with pytest.raises(ValueError, match="no camera 'wrist'; it has: front"):
        read.frames(0, "wrist")


def test_numbers_alone_are_fetched_at_once(hub):
    read = LeRobotDataset(Path(NAME))
    read.fetch([4, 0], cameras=())
    data = {f"data/chunk-000/file-00{number}.parquet" for number in (0, 2)}
    assert fetched(hub) - fetched(hub, under="meta/") == data
    read.fetch([4], cameras=("wrist",))
    wrist = "videos/observation.images.wrist/chunk-000/file-002.mp4"
    assert fetched(hub) - fetched(hub, under="meta/") == {*data, wrist}


def test_a_part_of_a_folder(dataset):
    stored = LeRobotDataset(dataset)
    read = open_dataset(dataset, episodes=slice(3, None), cameras=("wrist",))
    assert (read.num_episodes, len(read.spec.cameras)) == (2, 1)
    np.testing.assert_array_equal(read.actions(1), stored.actions(4))
    assert read.root == dataset.with_name("dataset_episodes_3-")
    with pytest.raises(ValueError, match="has episodes 0 to 4, asked for were 5:9"):
        open_dataset(dataset, episodes=slice(5, 9))
    with pytest.raises(ValueError, match="follow each other"):
        open_dataset(dataset, episodes=slice(0, 4, 2))
    with pytest.raises(ValueError, match="no camera top; it has: front, wrist"):
        open_dataset(dataset, cameras=("top",))


def test_annotations_of_a_part_are_kept_apart(hub):
    whole, part = Path(NAME), Path(f"{NAME}?episodes=2:4&cameras=front")
    for name in (whole, part):
        assert annotations_folder(name) == LeRobotDataset(name).root / "annotations"
    assert annotations_folder(whole) != annotations_folder(part)


def test_what_was_fetched_is_read_without_a_connection(hub, dataset, monkeypatch):
    expected = LeRobotDataset(Path(NAME)).actions(0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    read = LeRobotDataset(Path(NAME))
    np.testing.assert_array_equal(read.actions(0), expected)
    with pytest.raises(ValueError, match=r"hf://lab/cubes@main cannot be fetched: no connection"):
        read.frames(0, "front")


def test_a_dataset_stays_at_the_commit_of_its_first_opening(hub):
    read = LeRobotDataset(Path(NAME))
    assert read_json(read.root / PIN_FILE) == {"repository": "lab/cubes", "commit": COMMIT}
    hub.revisions["main"] = "d" * 40
    assert LeRobotDataset(Path(NAME)).actions(0).shape == (12, 3)


def test_an_interrupted_opening_goes_on(hub, monkeypatch):
    hub.revisions.pop("main")
    with pytest.raises(ValueError, match="it has no revision 'main'"):
        LeRobotDataset(Path(NAME))
    hub.revisions["main"] = COMMIT
    hub.hidden.add(layout.SPEC_PATH)
    with pytest.raises(ValueError, match="lacks a file"):
        LeRobotDataset(Path(NAME))
    hub.hidden.clear()
    assert LeRobotDataset(Path(NAME)).num_episodes == 5
    assert (
        hub.sent[layout.INFO_PATH] == (hub.folder / "lab/cubes" / layout.INFO_PATH).stat().st_size
    )


def test_a_connection_that_breaks_off_costs_nothing(hub, dataset):
    read, stored = LeRobotDataset(Path(NAME)), LeRobotDataset(dataset)
    hub.break_after = 1000
    frames = read.frames(0, "front")
    assert hub.break_after is None
    np.testing.assert_array_equal(frames, stored.frames(0, "front"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://lab/spheres", "there is no such dataset, or it is private"),
        ("hf://lab/cubes@v9", "it has no revision 'v9'"),
        ("hf://lab/empty", "it lacks a file that a LeRobot dataset has"),
        ("hf://-/..", "that is no name of a dataset"),
    ],
)
def test_what_cannot_be_fetched_says_why(hub, name, words):
    (hub.folder / "lab/empty").mkdir()
    with pytest.raises(ValueError, match=words):
        LeRobotDataset(Path(name))


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_of_an_old_dataset_only_the_files_of_the_episode_are_fetched(hub, version):
    write_dataset(hub.folder / "lab/old", version=version, image_kind="video")
    read = LeRobotDataset(Path("hf://lab/old"))
    assert (read.version, read.num_episodes) == (version, 2)
    assert fetched(hub) == fetched(hub, under="meta/")
    np.testing.assert_array_equal(read.actions(1), actions_of(1))
    assert read.frames(1, "top").shape == (7, 16, 24, 3)
    assert fetched(hub) - fetched(hub, under="meta/") == {
        "data/chunk-001/episode_000001.parquet",
        f"videos/chunk-001/{TOP}/episode_000001.mp4",
    }


def test_a_hub_that_is_not_well_is_told_from_no_connection(hub):
    hub.status = 400
    with pytest.raises(ValueError, match="the hub answered with an error"):
        LeRobotDataset(Path(NAME))


def images_in_tables(root: Path) -> np.ndarray:
    """A v2.1 dataset of two cameras whose images are in the data files; returns its actions."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (20, SIDE, SIDE, 3), dtype=np.uint8)
    image = {"dtype": "image", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channel"]}
    features = {
        "observation.images.top": image,
        "observation.images.side": image,
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
    }
    write_json(
        root / layout.INFO_PATH,
        {
            "codebase_version": "v2.1",
            "fps": 10,
            "features": features,
            "total_episodes": 1,
            "data_path": "data/{episode_index:06d}.parquet",
            "video_path": None,
        },
    )
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["a"], "length": 20}')
    actions = random.uniform(-1, 1, (20, 2)).astype(np.float32)
    images = [{"bytes": cv2.imencode(".png", frame)[1].tobytes(), "path": ""} for frame in frames]
    columns = {
        "observation.images.top": pa.array(images),
        "observation.images.side": pa.array(images[::-1]),
        "action": pa.array(actions.tolist(), pa.list_(pa.float32())),
        "episode_index": pa.array([0] * 20),
    }
    (root / "data").mkdir()
    pq.write_table(pa.table(columns), root / "data/000000.parquet")
    return actions


def test_of_images_in_tables_only_the_asked_columns_are_fetched(hub):
    root = hub.folder / "lab/tables"
    actions = images_in_tables(root)
    stored = LeRobotDataset(root)
    read = LeRobotDataset(Path("hf://lab/tables@v2.1"))
    np.testing.assert_array_equal(read.actions(0), actions)
    whole = (root / "data/000000.parquet").stat().st_size
    numbers = hub.sent["data/000000.parquet"]
    assert numbers < 0.3 * whole
    np.testing.assert_array_equal(read.frames(0, "top"), stored.frames(0, "top"))
    assert 0.4 * whole < hub.sent["data/000000.parquet"] - numbers < 0.8 * whole
    before = dict(hub.sent)
    again = LeRobotDataset(Path("hf://lab/tables@v2.1"))
    np.testing.assert_array_equal(again.actions(0), actions)
    np.testing.assert_array_equal(again.frames(0, "top"), stored.frames(0, "top"))
    assert hub.sent == before
    again.fetch()
    np.testing.assert_array_equal(again.frames(0, "side"), stored.frames(0, "side"))


@pytest.mark.slow
def test_the_commands_take_a_name(hub, tmp_path):
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}

    def roboscape(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "roboscape.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    part = f"{NAME}?episodes=2:4&cameras=front"
    assert "episodes     2, 29 frames" in roboscape("inspect", part).stdout
    assert roboscape("annotate", part, "--depth", "none").returncode == 0
    clips = ("--tracks", "lucas_kanade", "--length", "4", "--stride", "2")
    assert roboscape("clips", part, *clips).returncode == 0
    assert len(pq.read_table(annotations_folder(Path(part)) / "clips.parquet")) > 0
    assert fetched(hub, under="videos/") == {
        f"videos/observation.images.{name}/chunk-000/file-001.mp4"
        for name in ("front", "front_depth")
    }
    said = roboscape("inspect", "hf://lab/spheres")
    assert said.returncode == 1
    assert "there is no such dataset" in said.stderr
    assert "Traceback" not in said.stderr
