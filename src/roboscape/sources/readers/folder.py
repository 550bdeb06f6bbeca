"""A plain folder: a video an episode (or one a camera), and a table of actions beside it."""

import logging
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from pyarrow import csv

from roboscape.core.errors import UserError
from roboscape.core.files import read_json, write_json
from roboscape.core.video import write_video
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.sources.readers.mp4 import read_video, size_and_rate
from roboscape.sources.readers.protocol import NO_SEED, first_described

log = logging.getLogger(__name__)

TABLES = (".csv", ".parquet")
ONLY_CAMERA = "main"
ACTION, STATE = "action.", "state."
CONVENTION_FILE = "convention.json"
FREE_COLUMNS = ("timestamp", "frame_index", "reward", "success")
"""Columns that are neither an action nor a state, whatever the others are called."""


class FolderRecordings:
    """Anyone's recordings, laid out like this; only `episodes` is needed.

        convention.json         fields of `ActionConvention`; also robot_type
        task.txt                what is done, for all episodes
        episodes/NAME.mp4       or episodes/NAME/CAMERA.mp4, where there are several cameras
        episodes/NAME.csv       or .parquet: a row a frame, names in the header
        episodes/NAME.txt       what is done in this episode

    Columns named `action.…` are the action and `state.…` the proprioception; where none begins with
    `action.`, every column is an action but those and timestamp, frame_index, reward and success
    (of which the last row counts).
    """

    def __init__(self, source: Path) -> None:
        self.source = source

    def spec(self) -> DatasetSpec:
        """From the first episode's table and video headers, and `convention.json`."""
        return self._spec

    def keys(self) -> list[str]:
        """Names of the tables, without their endings."""
        paths = (self.source / "episodes").glob("*")
        return sorted(path.stem for path in paths if path.suffix in TABLES)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One episode."""
        path, table = self._table(key)
        actions, state = (_numbers(table, names, path) for names in self._columns)
        videos = self._videos(key)
        length = table.num_rows
        wanted = [c.name for c in self._spec.cameras if cameras is None or c.name in cameras]
        if missing := [name for name in wanted if name not in videos]:
            raise UserError(
                f"{path} has no video of camera {', '.join(missing)} beside it; every episode "
                "needs the cameras of the first: add the video, or leave the episode out"
            )
        return Episode(
            frames={name: read_video(videos[name], length=length) for name in wanted},
            depth_m={},
            actions=actions,
            state=state,
            reward=_numbers(table, ["reward"], path)[:, 0]
            if "reward" in table.column_names
            else np.zeros(length, np.float32),
            task=self._task(key),
            success="success" in table.column_names and bool(table["success"][-1].as_py()),
            seed=NO_SEED,
            behaviour="person",
            tracks={},
        )

    @property
    def _spec(self) -> DatasetSpec:
        return self._described[0]

    @property
    def _columns(self) -> tuple[list[str], list[str]]:
        return self._described[1]

    @cached_property
    def _described(self) -> tuple[DatasetSpec, tuple[list[str], list[str]]]:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> tuple[DatasetSpec, tuple[list[str], list[str]]]:
        """The spec, from one episode; the columns of the action and of the state."""
        actions, states = _split_columns(self._table(key)[1].column_names)
        found = {name: size_and_rate(path) for name, path in self._videos(key).items()}
        if not found:
            raise UserError(
                f"expected a video {self.source}/episodes/{key}.mp4, or several in a folder "
                f"{key}, found none"
            )
        rates = {rate for _, _, rate in found.values()}
        if len(rates) > 1:
            raise UserError(f"the videos of {key} differ in frame rate: {sorted(rates)}")
        (hz,) = rates
        about = self._about()
        names = tuple(name.removeprefix(ACTION) for name in actions)
        spec = DatasetSpec(
            fps=hz,
            robot_type=str(about.pop("robot_type", "unknown")),
            cameras=tuple(
                CameraSpec(name=name, height=height, width=width)
                for name, (height, width, _) in found.items()
            ),
            state_names=tuple(name.removeprefix(STATE) for name in states),
            action=_convention(about, names, hz=hz, path=self.source / CONVENTION_FILE),
            source=self.source.resolve().name,
        )
        return spec, (actions, states)

    def _about(self) -> dict[str, Any]:
        path = self.source / CONVENTION_FILE
        return read_json(path) if path.exists() else {}

    def _table(self, key: str) -> tuple[Path, pa.Table]:
        """The table of an episode; a broken or empty one is a `ValueError`."""
        stem = self.source / "episodes" / key
        path = next(p for p in (stem.with_name(stem.name + end) for end in TABLES) if p.exists())
        try:
            read = csv.read_csv if path.suffix == ".csv" else pq.read_table
            table = read(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{path} is not a readable table ({error}); a CSV file needs a header and equally "
                "many numbers a row: repair it, or leave it out"
            ) from error
        if not table.num_rows:
            raise UserError(f"{path} has no rows; leave the episode out")
        return path, table

    def _videos(self, key: str) -> dict[str, Path]:
        """The videos of an episode by camera."""
        stem = self.source / "episodes" / key
        alone = stem.with_name(stem.name + ".mp4")
        if alone.exists():
            return {ONLY_CAMERA: alone}
        return {path.stem: path for path in sorted(stem.glob("*.mp4"))}

    def _task(self, key: str) -> str:
        for path in (self.source / f"episodes/{key}.txt", self.source / "task.txt"):
            if path.exists():
                return path.read_text().strip()
        return ""


def open_recordings(source: Path) -> FolderRecordings:
    """Open a folder that holds `episodes`."""
    recordings = FolderRecordings(source)
    if not recordings.keys():
        raise UserError(
            f"expected tables of actions in {source}/episodes (NAME.csv or NAME.parquet beside "
            "NAME.mp4), found none"
        )
    return recordings


def example(folder: Path) -> Path:
    """Three episodes of 8 rows at 10 Hz, a camera of 32 x 48; tables of both kinds."""
    root = folder / "recordings"
    for number in range(3):
        random = np.random.default_rng(number)
        stem = root / f"episodes/take_{number}"
        frames = np.full((8, 32, 48, 3), 40 + 50 * number, np.uint8)
        for step in range(8):
            frames[step, 8:20, 4 * step : 4 * step + 12, 2] = 230
        write_video(stem.with_suffix(".mp4"), frames, fps=10.0)
        names = ("action.x", "action.y", "action.gripper", "state.x", "state.y")
        table = pa.table({name: random.uniform(-1, 1, 8).astype(np.float32) for name in names})
        if number:
            csv.write_csv(table, stem.with_suffix(".csv"))
        else:
            pq.write_table(table, stem.with_suffix(".parquet"))
    (root / "task.txt").write_text("push the block\n")
    about = {
        "robot_type": "arm of ours",
        "mode": "delta",
        "units": ["m", "m", "1"],
        "scale": [0.02, 0.02, 1.0],
        "frame": "robot_base",
        "rotation": "none",
        "gripper": "-1 opens, +1 closes",
    }
    write_json(root / CONVENTION_FILE, about)
    return root


def _split_columns(names: list[str]) -> tuple[list[str], list[str]]:
    """Columns of the action and of the state."""
    states = [name for name in names if name.startswith(STATE)]
    actions = [name for name in names if name.startswith(ACTION)]
    rest = [name for name in names if name not in states and name not in FREE_COLUMNS]
    return actions or rest, states


def _numbers(table: pa.Table, names: list[str], path: Path) -> Float32[np.ndarray, "t c"]:
    """Columns of numbers, in the order of the names."""
    try:
        columns = [table[name].to_numpy().astype(np.float32) for name in names]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: expected numbers in the columns {', '.join(names)} ({error}); repair the "
            "table, or leave the episode out"
        ) from error
    return np.stack([np.zeros(table.num_rows, np.float32), *columns], axis=1)[:, 1:]


def _convention(
    about: dict[str, Any], names: tuple[str, ...], *, hz: float, path: Path
) -> ActionConvention:
    """The convention in `convention.json`, which need not repeat names and rate."""
    if not about:
        log.warning(
            "%s does not exist, so what the actions mean is not known; they are taken as absolute",
            path,
        )
        return unknown_convention(names, action_hz=hz)
    known = {field.name for field in fields(ActionConvention)}
    if strange := sorted(set(about) - known):
        raise UserError(f"{path} has unknown entries {strange}; possible are {sorted(known)}")
    said = {name: tuple(v) if isinstance(v, list) else v for name, v in about.items()}
    try:
        return ActionConvention(**{"names": names, "action_hz": hz, "rotation": "none", **said})
    except TypeError as error:
        raise UserError(f"{path} lacks an entry ({error})") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
