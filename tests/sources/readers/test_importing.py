"""What holds for every reader, and for importing whatever the format."""

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from roboscape.core.files import write_json
from roboscape.core.video import write_video
from roboscape.dataset.checks import check_episode
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.splits import SPLITS, SplitShares, split_of
from roboscape.sources.readers import importing
from roboscape.sources.readers.importing import (
    FAILURES_FILE,
    ImportRecordings,
    imported_keys,
    run,
)
from roboscape.sources.readers.notices import read_notices
from roboscape.sources.readers.prepare import (
    Preparation,
    Splitter,
    prepared_episode,
    prepared_spec,
)
from roboscape.sources.readers.protocol import (
    NO_SEED,
    READERS,
    RecordingReader,
    reader_of,
)

MINE = ("robomimic", "libero", "agibot", "folder")
"""Formats whose whole import is tried here; the others' tests do it for theirs."""


@functools.cache
def example_of(name: str, folder: Path) -> Path:
    return reader_of(name).example(folder / name)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    return lambda name: example_of(name, folder)


@pytest.fixture
def robomimic(tmp_path):
    """A file of three demonstrations that a test may break."""
    return reader_of("robomimic").example(tmp_path / "recordings")


def import_here(source: Path, output: Path, **settings) -> importing.ImportSummary:
    settings = {"format": "robomimic", "workers": 1, **settings}
    return run(ImportRecordings(source=source, output=output, **settings))


@pytest.mark.parametrize("name", READERS)
def test_a_reader_keeps_its_promises(name, examples, tmp_path):
    source = examples(name)
    reader = reader_of(name).open_recordings(source)
    assert isinstance(reader, RecordingReader)
    spec, keys = reader.spec(), reader.keys()
    assert len(set(keys)) == len(keys) >= 1
    assert reader_of(name).open_recordings(source).keys() == keys
    for key in keys:
        episode = reader.read(key)
        check_episode(episode, spec, where=key)
        assert episode.actions.dtype == episode.state.dtype == np.float32
        assert episode.seed == NO_SEED and episode.split in (None, *SPLITS)
    one = spec.cameras[0].name
    assert list(reader.read(keys[0], cameras=(one,)).frames) == [one]
    again = reader_of(name).open_recordings(reader_of(name).example(tmp_path)).read(keys[-1])
    np.testing.assert_array_equal(again.actions, episode.actions)
    # Small videos that x264 encodes twice in a long-lived process can differ by some levels.
    np.testing.assert_allclose(again.frames[one].astype(int), episode.frames[one], atol=8)


@pytest.mark.parametrize("name", READERS)
def test_a_place_without_recordings_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        reader_of(name).open_recordings(tmp_path).spec()


@pytest.mark.parametrize("name", MINE)
def test_what_is_imported_is_what_was_recorded(name, examples, tmp_path):
    source = examples(name)
    summary = import_here(source, tmp_path / "d", format=name)
    reader = reader_of(name).open_recordings(source)
    dataset = LeRobotDataset(tmp_path / "d")
    assert dataset.spec == reader.spec()
    assert imported_keys(tmp_path / "d") == reader.keys()
    assert (summary.num_episodes, summary.failures) == (len(reader.keys()), {})
    for index, key in enumerate(reader.keys()):
        found, expected = dataset.episode(index), reader.read(key)
        np.testing.assert_array_equal(found.actions, expected.actions)
        np.testing.assert_array_equal(found.state, expected.state)
        np.testing.assert_array_equal(found.reward, expected.reward)
        assert (found.task, found.success) == (expected.task, expected.success)
        for camera, frames in expected.frames.items():
            assert np.abs(found.frames[camera].astype(int) - frames).mean() < 8
        for camera, depth_m in expected.depth_m.items():
            np.testing.assert_allclose(found.depth_m[camera], depth_m, rtol=1e-3)


def test_two_workers_keep_the_order_and_more_episodes_are_appended(robomimic, tmp_path):
    import_here(robomimic, tmp_path / "d", workers=2, episodes=2)
    assert imported_keys(tmp_path / "d") == ["image.hdf5/demo_0", "image.hdf5/demo_1"]
    import_here(robomimic, tmp_path / "d", workers=2)
    reader = reader_of("robomimic").open_recordings(robomimic)
    assert imported_keys(tmp_path / "d") == reader.keys()
    dataset = LeRobotDataset(tmp_path / "d")
    for index, key in enumerate(reader.keys()):
        np.testing.assert_array_equal(dataset.actions(index), reader.read(key).actions)
    assert not list((tmp_path / "d").glob(".*"))


def test_a_broken_recording_costs_only_itself_and_is_read_again_when_repaired(
    robomimic, tmp_path, caplog
):
    with h5py.File(robomimic, "r+") as file:
        actions = file["data/demo_1/actions"][()]
        file["data/demo_1/actions"][3, 2] = np.nan
    summary = import_here(robomimic, tmp_path / "d")
    assert imported_keys(tmp_path / "d") == ["image.hdf5/demo_0", "image.hdf5/demo_2"]
    assert "1 recordings could NOT be imported" in caplog.text
    (line,) = (tmp_path / "d" / FAILURES_FILE).read_text().splitlines()
    told = json.loads(line)
    assert told["key"] == "image.hdf5/demo_1"
    assert "action row 3, dimension 2 is nan" in told["reason"]
    assert summary.failures == {told["key"]: told["reason"]}
    with h5py.File(robomimic, "r+") as file:
        file["data/demo_1/actions"][...] = actions
    assert import_here(robomimic, tmp_path / "d").failures == {}
    assert imported_keys(tmp_path / "d")[-1] == "image.hdf5/demo_1"
    np.testing.assert_array_equal(
        LeRobotDataset(tmp_path / "d").actions(2), actions.astype(np.float32)
    )
    assert not (tmp_path / "d" / FAILURES_FILE).exists()


def test_nothing_readable_is_an_error(robomimic, tmp_path):
    with h5py.File(robomimic, "r+") as file:
        for number in range(3):
            del file[f"data/demo_{number}/rewards"]
            file[f"data/demo_{number}/rewards"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"none of the 3 .*rewards of shape 8, got \(3,\)"):
        import_here(robomimic, tmp_path / "d")


DEADLY = """
import os, signal
from pathlib import Path
from dataclasses import replace
from roboscape.sources.readers import robomimic

class Deadly(robomimic.RobomimicRecordings):
    def read(self, key, *, cameras=None):
        marker = self.source.parent / "die"
        if key.endswith("demo_1") and marker.exists():
            os.kill(getattr(os, marker.read_text())(), signal.SIGKILL)
        return super().read(key, cameras=cameras)

open_recordings = Deadly
"""


@pytest.mark.slow
def test_a_recording_that_kills_its_process_costs_only_itself(robomimic, tmp_path):
    reader = robomimic.parent / "deadly.py"
    reader.write_text(DEADLY)
    (robomimic.parent / "die").write_text("getpid")
    summary = import_here(robomimic, tmp_path / "d", format=str(reader))
    assert imported_keys(tmp_path / "d") == ["image.hdf5/demo_0", "image.hdf5/demo_2"]
    assert summary.failures == {"image.hdf5/demo_1": "its process died with exit code -9"}


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_reads_nothing_twice(robomimic, tmp_path):
    recorded = reader_of("robomimic").open_recordings(robomimic)
    expected = [recorded.read(key).actions for key in recorded.keys()]  # noqa: SIM118
    reader = robomimic.parent / "deadly.py"
    reader.write_text(DEADLY)
    (robomimic.parent / "die").write_text("getppid")
    command = [sys.executable, "-m", "roboscape.cli", "import", str(reader), str(robomimic)]
    flags = ["--output", str(tmp_path / "d"), "--workers", "1", "--episodes-per-file", "1"]
    killed = subprocess.run([*command, *flags], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    (robomimic.parent / "die").unlink()
    with h5py.File(robomimic, "r+") as file:
        # It was read before the command died; reading it again would fail.
        del file["data/demo_0/actions"]
    summary = import_here(robomimic, tmp_path / "d", format=str(reader), episodes_per_file=1)
    assert summary.failures == {}
    assert imported_keys(tmp_path / "d") == [f"image.hdf5/demo_{number}" for number in range(3)]
    dataset = LeRobotDataset(tmp_path / "d")
    for index, actions in enumerate(expected):
        np.testing.assert_array_equal(dataset.actions(index), actions)


def test_keys_noted_for_a_save_that_did_not_happen_do_not_count(robomimic, tmp_path):
    import_here(robomimic, tmp_path / "d", episodes=1)
    with (tmp_path / "d" / importing.KEYS_FILE).open("a") as file:
        file.write('"image.hdf5/demo_1"\n"image.hd')
    assert imported_keys(tmp_path / "d") == ["image.hdf5/demo_0"]


def test_other_settings_are_refused(robomimic, tmp_path):
    write_json(tmp_path / "d" / importing.SETTINGS_FILE, {"format": "robomimic", "image_size": 32})
    with pytest.raises(ValueError, match=r"imported with other settings \(.*image_size"):
        import_here(robomimic, tmp_path / "d", image_size=16)


def test_an_unknown_format_lists_the_known():
    with pytest.raises(ValueError, match="robomimic, libero, agibot, folder, rlds"):
        reader_of("hdf6")
    with pytest.raises(ValueError, match=r"found none"):
        reader_of("nowhere.py")


def test_cameras_and_size_are_those_asked_for(examples, tmp_path):
    import_here(
        examples("agibot"), tmp_path / "d", format="agibot", camera=("head",), image_size=16
    )
    dataset = LeRobotDataset(tmp_path / "d")
    (camera,) = dataset.spec.cameras
    assert (camera.name, camera.height, camera.width, camera.has_depth) == ("head", 16, 16, True)
    recorded = reader_of("agibot").open_recordings(examples("agibot")).read("327/648642")
    middle = recorded.frames["head"][:, :, 8:40]
    averaged = middle.reshape(8, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(dataset.frames(0, "head") - averaged).mean() < 8
    found = dataset.depth_m(0, "head")[..., None]
    depth_m = recorded.depth_m["head"][:, :, 8:40].reshape(8, 16, 2, 16, 2)
    candidates = depth_m.transpose(0, 1, 3, 2, 4).reshape(8, 16, 16, 4)
    # A depth that was measured, never a mean of several.
    assert np.abs(found / candidates - 1).min(axis=-1).max() < 1e-3


def test_an_unknown_camera_and_an_odd_size_are_refused(examples):
    spec = reader_of("robomimic").open_recordings(examples("robomimic")).spec()
    with pytest.raises(ValueError, match="no camera wrist; they have: agentview"):
        prepared_spec(spec, prepared(camera=("wrist",)))
    odd = spec.cameras[0].__class__(name="a", height=33, width=32)
    with pytest.raises(ValueError, match=r"33 x 32; a video needs even sides: pass --image-size"):
        prepared_spec(spec.__class__(**{**spec.__dict__, "cameras": (odd,)}), prepared())


@pytest.mark.parametrize("shares", [{"validation": 0.6, "test": 0.4}, {"test": -0.1}])
def test_shares_that_leave_nothing_are_refused(shares, tmp_path):
    with pytest.raises(ValueError, match="leave something for training"):
        ImportRecordings(format="robomimic", source=tmp_path, output=tmp_path, **shares)


def prepared(**settings) -> Preparation:
    return Preparation(**{"camera": (), "image_size": None, **settings})


def test_the_split_that_a_recording_names_counts(examples, tmp_path):
    import_here(examples("robomimic"), tmp_path / "d", validation=0.0, test=0.9)
    dataset = LeRobotDataset(tmp_path / "d")
    infos = [dataset.episode_info(number) for number in range(3)]
    assert [info.split for info in infos] == ["train", "train", "validation"]
    assert [split_of(info.seed) for info in infos] == [info.split for info in infos]


def test_of_few_recordings_a_share_of_their_number_is_held_out(tmp_path):
    write_table_recordings(tmp_path / "recordings", count=6)
    about = {"format": "folder", "validation": 0.3, "image_size": 16}
    import_here(tmp_path / "recordings", tmp_path / "whole", **about)
    import_here(tmp_path / "recordings", tmp_path / "grown", episodes=2, **about)
    first = splits_of(tmp_path / "grown")
    import_here(tmp_path / "recordings", tmp_path / "grown", **about)
    found = splits_of(tmp_path / "whole")
    assert sorted(found) == ["train"] * 4 + ["validation"] * 2
    assert splits_of(tmp_path / "grown") == found and found[:2] == first


def splits_of(root: Path) -> list[str]:
    dataset = LeRobotDataset(root)
    return [dataset.episode_info(number).split for number in range(dataset.num_episodes)]


def write_table_recordings(root: Path, *, count: int) -> None:
    (root / "episodes").mkdir(parents=True)
    for number in range(count):
        frames = np.full((3, 16, 16, 3), 40 * number, np.uint8)
        write_video(root / f"episodes/take_{number}.mp4", frames, fps=10.0)
        (root / f"episodes/take_{number}.csv").write_text("action.x\n0\n1\n2\n")


def test_a_seed_follows_from_the_key_alone_and_agrees_with_the_split(examples):
    reader = reader_of("agibot").open_recordings(examples("agibot"))
    key, other = reader.keys()[:2]
    one = prepared_episode(reader.read(key), key, prepared())
    assert one.seed == prepared_episode(reader.read(key), key, prepared(image_size=16)).seed
    assert one.seed != prepared_episode(reader.read(key), other, prepared()).seed
    shares = SplitShares(validation=0.5, test=0.0)
    splitter = Splitter(shares, taken=["train"])
    held_out = splitter(one)
    assert held_out.split == split_of(held_out.seed) == "validation"
    assert splitter(one).split == "validation" and splitter(one).split == "train"


def test_what_is_to_be_known_about_a_recording_reaches_the_user(examples, tmp_path, caplog):
    import_here(examples("agibot"), tmp_path / "d", format="agibot")
    told = {(notice.key, notice.text) for notice in read_notices(tmp_path / "d")}
    assert len({key for key, _ in told}) == 3
    assert any(
        key == "327/648642" and text.endswith("action/end/position is empty; filled from the state")
        for key, text in told
    )
    assert "something is to be known about 3 of the recordings" in caplog.text
    assert "filled from the state" in caplog.text
    import_here(examples("agibot"), tmp_path / "d", format="agibot")
    assert {(notice.key, notice.text) for notice in read_notices(tmp_path / "d")} == told
