import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.statistics import aggregate, episode_statistics
from roboscape.dataset.writer import DatasetWriter

MakeEpisode = Callable[..., Episode]


def assert_same_episode(found: Episode, expected: Episode) -> None:
    assert np.array_equal(found.actions, expected.actions)
    assert np.array_equal(found.state, expected.state)
    assert np.array_equal(found.reward, expected.reward)
    for name in ("task", "success", "seed", "behaviour"):
        assert getattr(found, name) == getattr(expected, name)
    for camera, frames in expected.frames.items():
        assert np.abs(found.frames[camera].astype(int) - frames).mean() < 12
    for camera, depth_m in expected.depth_m.items():
        assert np.abs(found.depth_m[camera] / depth_m - 1).max() < 6e-4
    for camera, tracks in expected.tracks.items():
        assert np.array_equal(found.tracks[camera].xy_px, tracks.xy_px)
        assert np.array_equal(found.tracks[camera].visible, tracks.visible)
        assert np.array_equal(found.tracks[camera].on_moving_body, tracks.on_moving_body)


def test_what_is_written_is_read(dataset: Path, spec: DatasetSpec, make_episode: MakeEpisode):
    read = LeRobotDataset(dataset)
    assert read.spec == spec
    assert read.num_episodes == 5
    assert read.num_frames == 12 + 13 + 14 + 15 + 16
    for seed in (3, 0, 4, 1, 2):
        assert_same_episode(read.episode(seed), make_episode(seed, length=12 + seed))


def test_the_files_are_lerobots(dataset: Path) -> None:
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["total_episodes"], info["total_frames"]) == (20, 5, 70)
    depth = info["features"]["observation.images.front_depth"]
    assert depth["shape"] == [32, 32, 1]
    assert depth["info"]["is_depth_map"] and depth["info"]["depth_unit"] == "m"
    rows = pq.read_table(dataset / "data/chunk-000/file-001.parquet")
    assert set(rows["episode_index"].to_pylist()) == {2, 3}
    assert rows["index"].to_pylist() == list(range(25, 25 + 14 + 15))
    assert rows["timestamp"].to_pylist()[:3] == pytest.approx([0, 0.05, 0.1])
    (last,) = pq.read_table(dataset / "meta/episodes/chunk-000/file-002.parquet").to_pylist()
    assert (last["dataset_from_index"], last["dataset_to_index"]) == (54, 70)
    assert last["videos/observation.images.wrist/file_index"] == 2
    assert last["tasks"] == ["push the cube"]
    assert not (dataset / ".staging").exists()


def test_statistics_are_of_all_episodes(dataset: Path, make_episode: MakeEpisode) -> None:
    stats = json.loads((dataset / "meta/stats.json").read_text())
    actions = np.concatenate([make_episode(seed, length=12 + seed).actions for seed in range(5)])
    assert stats["action"]["mean"] == pytest.approx(actions.mean(0).tolist(), abs=1e-6)
    assert stats["action"]["std"] == pytest.approx(actions.std(0).tolist(), abs=1e-6)
    assert stats["action"]["count"] == [70]
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
    (depth_min_m,) = np.ravel(stats["observation.images.front_depth"]["min"])
    assert depth_min_m == pytest.approx(0.3)


def test_appending_equals_writing_at_once(
    tmp_path: Path, dataset: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    root = tmp_path / "two"
    for seeds in ((0, 1), (2, 3, 4)):
        with DatasetWriter(root, spec, episodes_per_file=2) as writer:
            for seed in seeds:
                writer.add(make_episode(seed, length=12 + seed))
    at_once = {path.relative_to(dataset) for path in dataset.rglob("*")}
    assert {path.relative_to(root) for path in root.rglob("*")} == at_once
    for name in ("meta/info.json", "meta/tasks.parquet", "data/chunk-000/file-001.parquet"):
        assert (root / name).read_bytes() == (dataset / name).read_bytes()
    first, second = (
        json.loads((folder / "meta/stats.json").read_text())["action"] for folder in (root, dataset)
    )
    for name, values in first.items():
        assert values == pytest.approx(second[name])


def test_a_task_of_several_episodes_is_listed_once(dataset: Path) -> None:
    tasks = pq.read_table(dataset / "meta/tasks.parquet").to_pydict()
    names = next(values for name, values in tasks.items() if name != "task_index")
    assert sorted(names) == sorted(set(names))
    assert len(names) < LeRobotDataset(dataset).num_episodes


def test_another_spec_is_not_appended(dataset: Path, spec: DatasetSpec) -> None:
    with pytest.raises(ValueError, match=r"another specification \(fps: was "):
        DatasetWriter(dataset, replace(spec, fps=10.0))


def test_a_foreign_dataset_is_not_appended(dataset: Path, spec: DatasetSpec) -> None:
    (dataset / "meta/roboscape.json").unlink()
    with pytest.raises(ValueError, match="did not write"):
        DatasetWriter(dataset, spec)
    assert LeRobotDataset(dataset).num_episodes == 5


def test_two_writers_are_kept_apart(tmp_path: Path, spec: DatasetSpec) -> None:
    with (
        DatasetWriter(tmp_path, spec),
        pytest.raises(ValueError, match="another process is writing"),
    ):
        DatasetWriter(tmp_path, spec)


def test_an_error_of_the_caller_keeps_what_was_added(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    def record() -> None:
        with DatasetWriter(tmp_path, spec) as writer:
            writer.add(make_episode(1))
            raise RuntimeError("the robot fell")

    with pytest.raises(RuntimeError, match="fell"):
        record()
    assert_same_episode(LeRobotDataset(tmp_path).episode(0), make_episode(1))


def test_an_episode_that_does_not_fit_leaves_the_dataset_as_it_was(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    bad = make_episode(2)
    bad.actions[4, 1] = np.nan
    with DatasetWriter(tmp_path, spec) as writer:
        writer.add(make_episode(1))
        with pytest.raises(ValueError, match=r"episode 1 .*action row 4, dimension 1 is nan"):
            writer.add(bad)
        writer.add(make_episode(3))
    read = LeRobotDataset(tmp_path)
    assert read.num_episodes == 2
    assert_same_episode(read.episode(1), make_episode(3))


KILLED = """
import os, signal, sys
from pathlib import Path
import pickle
from roboscape.dataset import staging
from roboscape.dataset.writer import DatasetWriter

root, pickled, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
spec, episodes = pickle.loads(pickled.read_bytes())
writer = DatasetWriter(root, spec, episodes_per_file=2)
for episode in episodes[:3]:
    writer.add(episode)
if when == "while moving":
    replace, moved = Path.replace, []
    def replace_some(source, target):
        if len(moved) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        moved.append(target)
        return replace(source, target)
    Path.replace = replace_some
    writer.add(episodes[3])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["between episodes", "while moving"])
def test_a_killed_writer_leaves_its_finished_parts(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode, when: str
) -> None:
    root, pickled = tmp_path / "dataset", tmp_path / "episodes.pickle"
    pickled.write_bytes(pickle.dumps((spec, [make_episode(seed) for seed in range(4)])))
    done = subprocess.run([sys.executable, "-c", KILLED, root, pickled, when], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (root / ".staging").exists()
    read = LeRobotDataset(root)
    assert read.num_episodes == 2
    assert_same_episode(read.episode(1), make_episode(1))

    with DatasetWriter(root, spec, episodes_per_file=2) as writer:
        assert writer.num_episodes == 2
        for seed in (2, 3, 4):
            writer.add(make_episode(seed))
    read = LeRobotDataset(root)
    assert read.num_episodes == 5
    for seed in range(5):
        assert_same_episode(read.episode(seed), make_episode(seed))
    assert not (root / ".staging").exists()


FULL = """
mount -t tmpfs -o size=192k none {folder} || exit 77
{python} - <<'END'
import pickle
from pathlib import Path
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter

root = Path("{folder}/dataset")
spec, episodes = pickle.loads(Path("{pickled}").read_bytes())
try:
    with DatasetWriter(root, spec, episodes_per_file=2) as writer:
        for episode in episodes * 20:
            writer.add(episode)
except ValueError as error:
    print(error)
read = LeRobotDataset(root)
print(read.num_episodes, "episodes")
for number in range(read.num_episodes):
    read.episode(number)
print("all readable;", len(list(root.rglob(".staging"))), "left over")
END
"""


def test_a_full_disk_is_said_and_what_is_safe_is_safe(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
) -> None:
    folder, pickled = tmp_path / "small", tmp_path / "episodes.pickle"
    folder.mkdir()
    pickled.write_bytes(pickle.dumps((spec, [make_episode(0), make_episode(1)])))
    script = FULL.format(folder=folder, pickled=pickled, python=sys.executable)
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], check=False, capture_output=True, text=True
    )
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip(f"this machine does not let a test mount a small disk: {done.stderr.strip()}")
    message, number, rest = done.stdout.strip().splitlines()
    safe = int(number.removesuffix(" episodes"))
    assert safe >= 2
    assert str(folder / "dataset") in message
    assert "MiB free" in message
    assert f"the first {safe} episodes are safe" in message
    assert rest == "all readable; 0 left over"


def test_statistics_of_parts_add_up(make_episode: MakeEpisode) -> None:
    parts = [episode_statistics(make_episode(seed, length=10 + seed), {}) for seed in range(3)]
    at_once, in_steps = aggregate(parts), aggregate([aggregate(parts[:2]), parts[2]])
    for feature, values in at_once.items():
        for name, value in values.items():
            np.testing.assert_allclose(in_steps[feature][name], value, rtol=1e-9)


def test_recordings_without_proprioception(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode
):
    blind = replace(spec, state_names=())
    episodes = [replace(make_episode(seed), state=np.zeros((12, 0), np.float32)) for seed in (1, 2)]
    for episode in episodes:
        with DatasetWriter(tmp_path, blind) as writer:
            writer.add(episode)
    read = LeRobotDataset(tmp_path)
    for index, episode in enumerate(episodes):
        assert read.state(index).shape == (12, 0)
        assert_same_episode(read.episode(index), episode)
    assert (
        "observation.state" not in json.loads((tmp_path / "meta/info.json").read_text())["features"]
    )
    assert "observation.state" not in json.loads((tmp_path / "meta/stats.json").read_text())


@pytest.mark.parametrize("left", [None, ".roboscape.json.4711.tmp.json"])
def test_a_writer_killed_as_it_began_does_not_block_the_next(
    tmp_path: Path, spec: DatasetSpec, make_episode: MakeEpisode, left: str | None
) -> None:
    (tmp_path / "meta").mkdir()
    if left:
        (tmp_path / "meta" / left).write_text('{"fps": 2')
    with DatasetWriter(tmp_path, spec) as writer:
        writer.add(make_episode(1))
    assert LeRobotDataset(tmp_path).num_episodes == 1
    assert not list((tmp_path / "meta").glob(".*"))
