"""LeRobot's own library opens what we write, and we open what it writes.

Runs inside `.venv-lerobot` (`make test-lerobot`). roboscape lives in another environment, so its
half runs as a process there; the two exchange files.
"""

import json
import os
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.lerobot

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv/bin/python"
LENGTHS = (30, 17, 24)
SIDE = 64
CAMERA, DEPTH = "observation.images.front", "observation.images.front_depth"

OUR_WRITER = """
import sys
from pathlib import Path
import numpy as np
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter

source, root = np.load(sys.argv[1]), Path(sys.argv[2])
spec = DatasetSpec(
    fps=20.0,
    robot_type="panda",
    cameras=(CameraSpec(name="front", height=64, width=64, has_depth=True),),
    state_names=("a", "b", "c"),
    action=ActionConvention(
        mode="delta", names=("x", "y"), units=("m", "m"), scale=(0.05, 0.05), frame="base",
        rotation="none", gripper="none", action_hz=20.0,
    ),
)
with DatasetWriter(root, spec, episodes_per_file=2) as writer:
    for number in range(3):
        of = {name: source[f"{name}_{number}"] for name in ("frames", "depth", "actions", "state")}
        writer.add(
            Episode(
                frames={"front": of["frames"]}, depth_m={"front": of["depth"]},
                actions=of["actions"], state=of["state"],
                reward=np.arange(len(of["state"]), dtype=np.float32),
                task=("lift", "push", "lift")[number], success=number == 1, seed=100 + number,
                behaviour="expert", tracks={},
            )
        )
"""

OUR_READER = """
import sys
from dataclasses import asdict
from pathlib import Path
import json
import numpy as np
from roboscape.dataset.reader import LeRobotDataset

read = LeRobotDataset(Path(sys.argv[1]))
arrays = {"about": json.dumps(asdict(read.spec) | {"version": read.version})}
for number in range(read.num_episodes):
    arrays[f"frames_{number}"] = read.frames(number, "front")
    arrays[f"depth_{number}"] = read.depth_m(number, "front")
    arrays[f"some_depth_{number}"] = read.depth_m(number, "front", slice(3, 14, 4))
    arrays[f"actions_{number}"] = read.actions(number)
    arrays[f"state_{number}"] = read.state(number)
    arrays[f"task_{number}"] = read.episode_info(number).task
np.savez(sys.argv[2], **arrays)
"""


@pytest.fixture(scope="module")
def lerobot_dataset() -> ModuleType:
    os.environ["HF_HUB_OFFLINE"] = "1"
    return pytest.importorskip(
        "lerobot.datasets.lerobot_dataset", reason="runs in .venv-lerobot (make test-lerobot)"
    )


@pytest.fixture(scope="module")
def source() -> dict[str, np.ndarray]:
    """Three moving scenes: smooth colours, depth from 0.4 to 4 m, actions and states."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    arrays = {}
    for number, length in enumerate(LENGTHS):
        time = np.arange(length)[:, None, None] / 20
        waves = [np.sin(3 * x + shift + time + number) for shift in (0, 2, 4)]
        arrays[f"frames_{number}"] = (127 + 120 * np.stack(waves, -1)).astype(np.uint8)
        arrays[f"depth_{number}"] = (0.4 + 3 * x + 0.3 * y + 0.2 * time).astype(np.float32)
        arrays[f"actions_{number}"] = random.uniform(-1, 1, (length, 2)).astype(np.float32)
        arrays[f"state_{number}"] = random.normal(size=(length, 3)).astype(np.float32)
    return arrays


def run_roboscape(script: str, *arguments: Path) -> None:
    """Run a script where roboscape is installed."""
    if not PYTHON.exists():
        pytest.skip(f"roboscape's own environment is not at {PYTHON} (run `make check` first)")
    done = subprocess.run(
        [PYTHON, "-c", script, *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def ours(source: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that roboscape wrote."""
    folder = tmp_path_factory.mktemp("ours")
    np.savez(folder / "source.npz", **source)
    run_roboscape(OUR_WRITER, folder / "source.npz", folder / "dataset")
    return folder / "dataset"


@pytest.fixture(scope="module")
def theirs(
    lerobot_dataset: ModuleType,
    source: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A dataset that lerobot wrote, with its own defaults (AV1 colours, its depth range)."""
    root = tmp_path_factory.mktemp("theirs") / "dataset"
    write_with_lerobot(lerobot_dataset, root, source, kind="video")
    return root


def write_with_lerobot(
    module: ModuleType, root: Path, source: dict[str, np.ndarray], *, kind: str, scale: int = 0
) -> None:
    """Write the scenes as videos or as images; depth in metres, or as integers of 1 / `scale` m."""
    axes = ["height", "width", "channels"]
    dataset = module.LeRobotDataset.create(
        "test/theirs",
        fps=20,
        root=root,
        robot_type="so101",
        features={
            CAMERA: {"dtype": kind, "shape": (SIDE, SIDE, 3), "names": axes},
            DEPTH: {
                "dtype": kind,
                "shape": (SIDE, SIDE, 1),
                "names": axes,
                "info": {"is_depth_map": True},
            },
            "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
            "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        },
        video_backend="pyav",
        use_videos=kind == "video",
    )
    for number, length in enumerate(LENGTHS):
        depth = source[f"depth_{number}"][..., None]
        if scale:
            depth = np.rint(depth * scale).astype(np.uint16)
        for row in range(length):
            dataset.add_frame(
                {
                    CAMERA: source[f"frames_{number}"][row],
                    DEPTH: depth[row],
                    "observation.state": source[f"state_{number}"][row],
                    "action": source[f"actions_{number}"][row],
                    "task": ("lift", "push", "lift")[number],
                }
            )
        dataset.save_episode()
    dataset.finalize()


def open_with_lerobot(module: ModuleType, root: Path, **options: object) -> object:
    return module.LeRobotDataset(
        "test/dataset", root=root, video_backend="pyav", depth_output_unit="m", **options
    )


def read_with_roboscape(root: Path, folder: Path) -> dict[str, np.ndarray]:
    run_roboscape(OUR_READER, root, folder / "read.npz")
    return dict(np.load(folder / "read.npz"))


def test_lerobot_reads_every_frame_of_ours(
    lerobot_dataset: ModuleType, ours: Path, source: dict[str, np.ndarray], tmp_path: Path
) -> None:
    read = open_with_lerobot(lerobot_dataset, ours)
    as_we_read = read_with_roboscape(ours, tmp_path)
    assert (len(read), read.meta.total_episodes, read.meta.fps) == (sum(LENGTHS), 3, 20)
    assert read.meta.robot_type == "panda"
    assert read.meta.depth_keys == [DEPTH]
    index = 0
    for number, length in enumerate(LENGTHS):
        for row in range(length):
            item = read[index]
            index += 1
            np.testing.assert_array_equal(item["action"], source[f"actions_{number}"][row])
            np.testing.assert_array_equal(item["observation.state"], source[f"state_{number}"][row])
            assert item["timestamp"] == pytest.approx(row / 20)
            assert item["episode_index"] == number
            assert item["task"] == ("lift", "push", "lift")[number]
            assert item["next.reward"] == row
            assert bool(item["next.done"]) == (row == length - 1)
            assert bool(item["next.success"]) == (row == length - 1 and number == 1)
            depth_m = item[DEPTH].numpy()[0]
            np.testing.assert_allclose(depth_m, source[f"depth_{number}"][row], rtol=6e-4)
            colours = item[CAMERA].numpy().transpose(1, 2, 0) * 255
            np.testing.assert_allclose(colours, as_we_read[f"frames_{number}"][row], atol=1.01)
            error = np.abs(colours - source[f"frames_{number}"][row])
            assert error.mean() < 3


def test_lerobot_reads_windows_and_single_episodes_of_ours(
    lerobot_dataset: ModuleType, ours: Path, source: dict[str, np.ndarray]
) -> None:
    read = open_with_lerobot(
        lerobot_dataset,
        ours,
        episodes=[1],
        delta_timestamps={CAMERA: [-0.2, 0.0], DEPTH: [-0.2, 0.0], "action": [0.0, 0.05, 0.1]},
    )
    assert len(read) == LENGTHS[1]
    item = read[8]
    np.testing.assert_array_equal(item["action"], source["actions_1"][8:11])
    assert tuple(item[CAMERA].shape) == (2, 3, SIDE, SIDE)
    np.testing.assert_allclose(item[DEPTH][:, 0], source["depth_1"][[4, 8]], rtol=6e-4)


def test_lerobot_finds_episodes_of_ours_by_our_columns(
    lerobot_dataset: ModuleType, ours: Path
) -> None:
    meta = open_with_lerobot(lerobot_dataset, ours).meta
    assert meta.filter_episodes(lambda episode: episode["success"]) == [1]
    assert meta.filter_episodes(lambda episode: episode["seed"] >= 101) == [1, 2]


def test_our_statistics_are_lerobots(
    lerobot_dataset: ModuleType, ours: Path, source: dict[str, np.ndarray]
) -> None:
    compute_stats = pytest.importorskip("lerobot.datasets.compute_stats")
    ours_read = open_with_lerobot(lerobot_dataset, ours).meta.stats
    for key, name in (("action", "actions"), ("observation.state", "state")):
        episodes = [
            {key: compute_stats.get_feature_stats(source[f"{name}_{n}"], axis=0, keepdims=False)}
            for n in range(3)
        ]
        expected = compute_stats.aggregate_stats(episodes)[key]
        assert set(ours_read[key]) == set(expected)
        for statistic in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(
                ours_read[key][statistic], expected[statistic], rtol=1e-4, atol=1e-5
            )
        # lerobot's quantiles come from a histogram.
        np.testing.assert_allclose(ours_read[key]["q50"], expected["q50"], atol=0.15)
    depth = np.concatenate([source[f"depth_{n}"].ravel() for n in range(3)])
    np.testing.assert_allclose(ours_read[DEPTH]["mean"].ravel(), depth.mean(), rtol=0.05)
    assert ours_read[CAMERA]["mean"].shape == (3, 1, 1)
    compute_stats.aggregate_stats([ours_read, ours_read])


def test_we_read_every_frame_of_lerobots(
    lerobot_dataset: ModuleType, theirs: Path, source: dict[str, np.ndarray], tmp_path: Path
) -> None:
    read = read_with_roboscape(theirs, tmp_path)
    about = json.loads(str(read["about"]))
    assert about["version"] == "v3.0"
    assert (about["fps"], about["robot_type"]) == (20.0, "so101")
    assert about["state_names"] == ["a", "b", "c"]
    assert about["action"]["names"] == ["x", "y"]
    assert about["action"]["known"] is False
    assert (about["depth_min_m"], about["depth_max_m"]) == (0.01, 10.0)
    as_lerobot_reads = open_with_lerobot(lerobot_dataset, theirs)
    index = 0
    for number, length in enumerate(LENGTHS):
        assert str(read[f"task_{number}"]) == ("lift", "push", "lift")[number]
        np.testing.assert_array_equal(read[f"actions_{number}"], source[f"actions_{number}"])
        np.testing.assert_array_equal(read[f"state_{number}"], source[f"state_{number}"])
        np.testing.assert_allclose(read[f"depth_{number}"], source[f"depth_{number}"], rtol=2e-3)
        np.testing.assert_array_equal(read[f"some_depth_{number}"], read[f"depth_{number}"][3:14:4])
        for row in range(length):
            item = as_lerobot_reads[index]
            index += 1
            colours = item[CAMERA].numpy().transpose(1, 2, 0) * 255
            np.testing.assert_allclose(read[f"frames_{number}"][row], colours, atol=1.01)
            np.testing.assert_allclose(
                read[f"depth_{number}"][row], item[DEPTH].numpy()[0], rtol=1e-5
            )


@pytest.mark.parametrize("scale", [0, 1000])
def test_we_read_lerobots_depth_kept_as_images(
    lerobot_dataset: ModuleType, source: dict[str, np.ndarray], tmp_path: Path, scale: int
) -> None:
    root = tmp_path / "images"
    write_with_lerobot(lerobot_dataset, root, source, kind="image", scale=scale)
    read = read_with_roboscape(root, tmp_path)
    for number in range(3):
        np.testing.assert_array_equal(read[f"frames_{number}"], source[f"frames_{number}"])
        atol = 6e-4 if scale else 1e-6
        np.testing.assert_allclose(read[f"depth_{number}"], source[f"depth_{number}"], atol=atol)
        np.testing.assert_array_equal(read[f"actions_{number}"], source[f"actions_{number}"])
