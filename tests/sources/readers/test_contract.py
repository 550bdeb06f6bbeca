"""What every reader owes: stable keys, an episode at a time, and no more decoded than asked for."""

import gc
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.findings import findings
from roboscape.inspection.survey import survey
from roboscape.sources.readers.importing import ImportRecordings, imported_keys, run
from roboscape.sources.readers.protocol import READERS, RecordingReader, reader_of
from roboscape.sources.readers.tf_example import encode_example, parse_example
from roboscape.sources.readers.tfrecord import index_records, read_record, write_records


def opened(name: str, source: Path) -> RecordingReader:
    return reader_of(name).open_recordings(source)


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: reader_of(name).example(tmp_path / "recordings")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_arrays(path: Path, place: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[place]


def break_record(source: Path, number: int) -> None:
    """Turn the bits of a byte in the middle of a record."""
    (path,) = source.glob("*.tfrecord*")
    record = index_records(path)[number]
    content = bytearray(path.read_bytes())
    content[record.offset + 500] ^= 255
    path.write_bytes(content)


BREAK: dict[str, Callable[[Path, int], None]] = {
    "robomimic": lambda source, n: without_arrays(source, f"data/demo_{n}/obs/agentview_image"),
    "libero": lambda source, n: truncate(sorted(source.glob("*.hdf5"))[n]),
    "agibot": lambda source, n: truncate(
        sorted(source.glob("observations/*/*/videos/head_color.mp4"))[n]
    ),
    "folder": lambda source, n: truncate(sorted(source.glob("episodes/*.mp4"))[n]),
    "rlds": break_record,
    "droid": lambda source, n: truncate(source / f"videos/{n + 1:04d}/1.mp4"),
    "bair": lambda source, n: truncate(sorted(source.glob("*.npz"))[n]),
    "ivideogpt": lambda source, n: truncate(sorted(source.glob("*.npz"))[n]),
    "metaworld-npz": lambda source, n: truncate(sorted(source.glob("*.npz"))[n]),
}
"""How a recording of an example may be broken, by its number."""


def without_array_of_npz(source: Path, name: str) -> None:
    for path in sorted(source.glob("*.npz"))[1:]:
        with np.load(path) as arrays:
            kept = {key: values for key, values in arrays.items() if key != name}
        # A name without an array: what its bytes say is not looked at before it is read.
        np.savez(path, **kept, **{name: np.array(["no images"])})


def without_images_of_record(source: Path, feature: str) -> None:
    (path,) = source.glob("*.tfrecord*")
    first, second = (read_record(record) for record in index_records(path))
    example = {
        name: [bytes(value) for value in values] if isinstance(values, list) else values
        for name, values in parse_example(second).items()
    }
    example[feature] = [b"no image"] * len(example[feature])
    path.unlink()
    write_records(path, [bytes(first), encode_example(example)])


SPOIL: dict[str, tuple[str, Callable[[Path], None]]] = {
    "libero": (
        "eye_in_hand",
        lambda source: without_arrays(
            min(source.glob("*open*.hdf5")), "data/demo_1/obs/eye_in_hand_rgb"
        ),
    ),
    "agibot": ("head", lambda source: BREAK["agibot"](source, 1)),
    "droid": ("exterior_2", lambda source: BREAK["droid"](source, 1)),
    "rlds": (
        "image_1",
        lambda source: without_images_of_record(source, "steps/observation/image_1"),
    ),
    "bair": ("aux1", lambda source: without_array_of_npz(source, "aux1_image")),
    "ivideogpt": ("aux1", lambda source: without_array_of_npz(source, "aux1_image")),
}
"""A camera, and how its images alone are spoilt in the second recording of an example."""


def test_there_is_a_way_to_break_every_format():
    assert set(BREAK) == set(READERS)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("number", [0, 1])
def test_a_broken_recording_costs_only_itself(name, number, source_of):
    source = source_of(name)
    whole = opened(name, source)
    keys = whole.keys()
    expected = {key: whole.read(key).actions for key in keys}
    spec = whole.spec()
    BREAK[name](source, number)
    reader = opened(name, source)
    assert reader.spec() == spec
    broken = []
    for key in reader.keys():  # noqa: SIM118 - it is no dictionary
        try:
            actions = reader.read(key).actions
        except ValueError as error:
            assert str(source) in str(error)
            broken.append(key)
        else:
            np.testing.assert_array_equal(actions, expected[key])
    readable = set(reader.keys()) - set(broken)
    assert broken
    # A file of several recordings takes them all along.
    assert readable <= set(keys)
    assert readable


@pytest.mark.parametrize("name", SPOIL)
def test_only_the_asked_cameras_are_decoded(name, source_of):
    source = source_of(name)
    camera, spoil = SPOIL[name]
    whole = opened(name, source)
    key = whole.keys()[1]
    others = tuple(one.name for one in whole.spec().cameras if one.name != camera)
    expected = whole.read(key)
    spoil(source)
    reader = opened(name, source)
    with pytest.raises(ValueError, match=r"."):
        reader.read(key)
    read = reader.read(key, cameras=others)
    assert tuple(read.frames) == others
    assert camera not in read.depth_m
    for other in others:
        np.testing.assert_array_equal(read.frames[other], expected.frames[other])


@pytest.mark.parametrize("name", READERS)
def test_an_episode_is_let_go_when_the_next_is_read(name, source_of):
    reader = opened(name, source_of(name))
    first, second = reader.keys()[:2]
    episode = reader.read(first)
    images = weakref.ref(next(iter(episode.frames.values())))
    del episode
    reader.read(second)
    gc.collect()
    assert images() is None


@pytest.mark.parametrize("name", READERS)
def test_nothing_but_its_size_looks_wrong_in_an_example(name, source_of, tmp_path):
    reader = opened(name, source_of(name))
    with DatasetWriter(tmp_path / "d", reader.spec()) as writer:
        for number, key in enumerate(reader.keys()):
            writer.add(replace(reader.read(key), seed=number))
    dataset = LeRobotDataset(tmp_path / "d")
    seen = survey(dataset, max_episodes=9, max_image_episodes=9)
    kinds = {finding.kind for finding in findings(seen, dataset.spec)}
    unknown = set() if dataset.spec.action.known else {"convention_unknown"}
    assert kinds == {"short_episode"} | unknown


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_two_processes_or_two_runs_make_what_one_makes(name, source_of, tmp_path):
    source = source_of(name)

    def imported(to: str, **settings) -> LeRobotDataset:
        where = {"format": name, "source": source, "output": tmp_path / to}
        run(ImportRecordings(**where, image_size=16, **settings))
        assert imported_keys(tmp_path / to) == opened(name, source).keys()[: settings["episodes"]]
        return LeRobotDataset(tmp_path / to)

    serial = imported("serial", workers=1, episodes=9)
    parallel = imported("parallel", workers=2, episodes=9)
    imported("resumed", workers=1, episodes=1)
    resumed = imported("resumed", workers=1, episodes=9)
    for other in (parallel, resumed):
        assert other.spec == serial.spec
        assert other.num_episodes == serial.num_episodes
        for number in range(serial.num_episodes):
            # What is finished together shares a video file, and files are coded apart.
            alike(serial.episode(number), other.episode(number), off=8)


def alike(one: Episode, other: Episode, *, off: int) -> None:
    """The same episode, its colours up to `off` on average."""
    assert (one.seed, one.task, one.success) == (other.seed, other.task, other.success)
    for field in ("actions", "state", "reward"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for camera, frames in one.frames.items():
        assert np.abs(frames.astype(int) - other.frames[camera]).mean() <= off
    for camera, depth_m in one.depth_m.items():
        np.testing.assert_array_equal(other.depth_m[camera], depth_m)


DEADLY = """
import os, signal
from pathlib import Path
from roboscape.sources.readers.protocol import reader_of

class Deadly:
    def __init__(self, source):
        self.reader = reader_of("{name}").open_recordings(source)
        self.spec, self.keys = self.reader.spec, self.reader.keys

    def read(self, key, *, cameras=None):
        if key == self.keys()[1] and Path("{marker}").exists():
            os.kill(os.getppid(), signal.SIGKILL)
        return self.reader.read(key, cameras=cameras)

open_recordings = Deadly
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_killed_in_the_second_recording_an_import_goes_on(name, source_of, tmp_path):
    source, marker, reader = source_of(name), tmp_path / "die", tmp_path / "deadly.py"
    reader.write_text(DEADLY.format(name=name, marker=marker))
    marker.touch()
    command = [sys.executable, "-m", "roboscape.cli", "import", str(reader), str(source)]
    flags = ["--output", str(tmp_path / "d"), "--workers", "1", "--episodes-per-file", "1"]
    assert subprocess.run([*command, *flags], capture_output=True).returncode == -signal.SIGKILL
    marker.unlink()
    where = {"format": str(reader), "source": source, "output": tmp_path / "d"}
    summary = run(ImportRecordings(workers=1, episodes_per_file=1, **where))
    whole = opened(name, source)
    assert summary.failures == {}
    assert imported_keys(tmp_path / "d") == whole.keys()
    dataset = LeRobotDataset(tmp_path / "d")
    for number, key in enumerate(whole.keys()):
        np.testing.assert_array_equal(dataset.actions(number), whole.read(key).actions)
