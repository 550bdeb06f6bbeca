"""The index of a dataset's episodes, for any LeRobot version, read from its `meta` folder."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset import layout
from roboscape.dataset.hub import WHOLE, Part
from roboscape.dataset.records import Split
from roboscape.dataset.splits import SPLITS, resolve_splits, split_of
from roboscape.dataset.tables import read_episode_tables


@dataclass(frozen=True, kw_only=True)
class EpisodeInfo:
    """The metadata of one episode."""

    index: int
    length: int
    task: str
    seed: int
    """The episode's own index in datasets that keep no seed."""
    split: Split
    """What it is for (`dataset/splits.py`)."""
    success: bool | None
    """None where the dataset does not record it."""
    behaviour: str
    """What acted; empty where the dataset does not record it."""


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """The frames of one episode in one video file."""

    path: Path
    from_s: float
    """Time of the first frame in the file."""


@dataclass(frozen=True, kw_only=True)
class EpisodePlace:
    """One episode and the files that hold it."""

    info: EpisodeInfo
    stored_index: int
    """Its number in the files; that of `info` counts from 0 in a part of a dataset."""
    data: Path
    videos: dict[str, VideoSpan]
    """By feature."""
    names_split: bool
    """Whether the dataset's own metadata names the episode's split."""


def read_dataset_info(root: Path) -> dict[str, Any]:
    """The content of `meta/info.json`, of a version that can be read.

    Raises:
        ValueError: it is missing, broken, or of an unknown version.
    """
    path = root / layout.INFO_PATH
    if not path.exists():
        raise UserError(
            f"{root} is not a LeRobot dataset: expected {layout.INFO_PATH} in it, found none; give "
            "the folder that holds `meta`, `data` and `videos`, and copy all three"
        )
    info = read_json(path)
    version = info.get("codebase_version")
    if version not in layout.READABLE_VERSIONS:
        raise UserError(
            f"{path} says format {version!r}; this program reads "
            f"{', '.join(layout.READABLE_VERSIONS)}: convert the dataset with lerobot, or "
            "upgrade roboscape"
        )
    missing = [key for key in ("fps", "features", "total_episodes", "data_path") if key not in info]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; copy the `meta` folder again")
    return info


def read_episode_places(root: Path, info: dict[str, Any]) -> list[EpisodePlace]:
    """Every episode in order, wherever the dataset's version keeps it."""
    keys = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    if info["codebase_version"] == "v3.0":
        rows = _rows_in_tables(root, info)
        place_of = _place_in_tables
    else:
        rows = _rows_in_lines(root, info)
        place_of = _place_in_lines
    splits = resolve_splits(root, [_recorded_split(row) for row in rows])
    try:
        return [
            place_of(root, info, row, keys=keys, split=split)
            for row, split in zip(rows, splits, strict=True)
        ]
    except KeyError as error:
        raise UserError(
            f"{root / 'meta/episodes'} lacks the column {error}; the dataset was not finished or "
            "not converted to v3.0 completely"
        ) from error


def part_of(places: list[EpisodePlace], part: Part, *, where: str) -> list[EpisodePlace]:
    """The places of a part, numbered from 0; a part that a dataset does not have is refused."""
    if part.start >= len(places) and part != WHOLE:
        raise UserError(
            f"{where} has episodes 0 to {len(places) - 1}, asked for were {part.start}:{part.stop}"
        )
    return [
        replace(place, info=replace(place.info, index=number))
        for number, place in enumerate(places[part.start : part.stop])
    ]


def _rows_in_tables(root: Path, info: dict[str, Any]) -> list[dict[str, Any]]:
    """Version 3.0: many episodes share a file."""
    if not info["total_episodes"]:
        return []
    table = read_episode_tables(root, num_episodes=info["total_episodes"])
    columns = [name for name in table.column_names if not name.startswith("stats/")]
    return table.select(columns).to_pylist()


def _place_in_tables(
    root: Path, info: dict[str, Any], row: dict[str, Any], *, keys: list[str], split: Split
) -> EpisodePlace:
    return EpisodePlace(
        info=_episode_info(row, split=split),
        stored_index=row["episode_index"],
        names_split=_recorded_split(row) is not None,
        data=root / info["data_path"].format(**_place(row, "data")),
        videos={
            key: VideoSpan(
                path=root
                / info["video_path"].format(video_key=key, **_place(row, f"videos/{key}")),
                from_s=row[f"videos/{key}/from_timestamp"],
            )
            for key in keys
        },
    )


def _place(row: dict[str, Any], prefix: str) -> dict[str, int]:
    return {name: row[f"{prefix}/{name}"] for name in ("chunk_index", "file_index")}


def _rows_in_lines(root: Path, info: dict[str, Any]) -> list[dict[str, Any]]:
    """Versions 2.0 and 2.1: every episode has files of its own."""
    rows = _read_lines(root / "meta/episodes.jsonl")
    if len(rows) < info["total_episodes"]:
        raise UserError(
            f"{root / layout.INFO_PATH} promises {info['total_episodes']} episodes, "
            f"meta/episodes.jsonl describes {len(rows)}; copy the `meta` folder again"
        )
    return sorted(rows, key=lambda row: row["episode_index"])


def _place_in_lines(
    root: Path, info: dict[str, Any], row: dict[str, Any], *, keys: list[str], split: Split
) -> EpisodePlace:
    index = row["episode_index"]
    names = {
        "episode_index": index,
        "episode_chunk": index // info.get("chunks_size", layout.FILES_PER_CHUNK),
    }
    videos = {
        key: VideoSpan(path=root / info["video_path"].format(video_key=key, **names), from_s=0.0)
        for key in keys
    }
    data = root / info["data_path"].format(**names)
    return EpisodePlace(
        info=_episode_info(row, split=split),
        stored_index=index,
        data=data,
        videos=videos,
        names_split=_recorded_split(row) is not None,
    )


def _recorded_split(row: dict[str, Any]) -> Split | None:
    """A value of an episode's metadata; None where it is missing."""
    split = row.get("split")
    if split is None:
        seed = row.get("seed")
        return None if seed is None else split_of(seed)
    if split not in SPLITS:
        raise UserError(
            f"episode {row['episode_index']} has the split {split!r}; expected one of {SPLITS}"
        )
    return split


def _episode_info(row: dict[str, Any], *, split: Split) -> EpisodeInfo:
    success = row.get("success")
    seed = row.get("seed")
    return EpisodeInfo(
        index=row["episode_index"],
        length=row["length"],
        task=next(iter(row["tasks"]), ""),
        seed=row["episode_index"] if seed is None else seed,
        split=split,
        success=None if success is None else bool(success),
        behaviour=row.get("behaviour") or "",
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise UserError(f"expected {path}, found none; copy the whole `meta` folder")
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON lines ({error}); it may be truncated") from error
