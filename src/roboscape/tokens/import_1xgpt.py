"""Token folders of 1xgpt as a token store: `roboscape import-tokens FOLDERS --output DIR`.

There are no images in them and no depth: the store is for RGB-only models, and its codes are
decoded by 1X's own `magvit2.ckpt`.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.clips.split import SPLITS, split_of
from roboscape.controls.encoder import ControlStatistics
from roboscape.controls.signals import one_where_still
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, sha256_of, write_json
from roboscape.core.progress import progress
from roboscape.dataset.depth_choice import NONE
from roboscape.dataset.records import FIRST_TEST_SEED, FIRST_VALIDATION_SEED, Split
from roboscape.tokenizer.config import TokenizerConfig
from roboscape.tokens.build import is_written, write_shard
from roboscape.tokens.encode import track_columns
from roboscape.tokens.folder_1xgpt import CODE_BITS, TokenFolder
from roboscape.tokens.store import (
    CLIPS,
    EPISODES,
    STORE,
    StoreConfig,
    TokenStore,
    shard_folder,
    whole_episodes,
)

log = logging.getLogger(__name__)

PATCH_PX = 16
CAMERA = "head"
TOKENIZER = "magvit2 of 1xgpt"
"""Stands for the hash of weights that are not there."""
FIRST_SEEDS: dict[Split, int] = {
    "train": 0,
    "validation": FIRST_VALIDATION_SEED,
    "test": FIRST_TEST_SEED,
}
SEEDS_PER_SPLIT = 100_000
ROWS_MEASURED = 200_000
"""Largest number of rows from which the normalisation of actions is measured."""


@dataclass(frozen=True, kw_only=True)
class ImportTokens:
    """Copy token folders of 1xgpt into a token store; goes on where it stopped."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders with `video.bin` and `metadata.json`; `val` or `test` in a name decides the split."""
    output: Path
    """Folder of the store."""
    stride: int = 15
    """Native rows between two frames of a clip; 15 makes 2 Hz of 30 Hz, as in 1X's challenge."""
    tokenizer_weights: Path | None = None
    """1X's `magvit2.ckpt`, if you have it: its hash marks the codes."""
    episodes_per_shard: int = 50
    """Segments a shard; an interrupted run repeats at most one shard."""

    def __post_init__(self) -> None:
        """Refuse a store of nothing."""
        if not self.folders or self.stride < 1 or self.episodes_per_shard < 1:
            raise UserError(
                f"expected at least one folder, and stride and episodes_per_shard >= 1; got {self}"
            )


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of frames of one recording: an episode of the store."""

    dataset: int
    """Number of the folder."""
    episode: int
    """Its number there, in order."""
    first_frame: int
    """In the folder's files."""
    seed: int
    length: int
    success: bool | None = None
    behaviour: str = "person"
    task: str = ""


def run(config: ImportTokens) -> TokenStore:
    """Write the missing shards, then what makes the store whole."""
    folders = [TokenFolder(root) for root in config.folders]
    check_folders(folders)
    segments = segments_of(folders)
    settings = {
        "tokenizer_sha256": _tokenizer_hash(config.tokenizer_weights),
        "cameras": [CAMERA],
        "depth": NONE,
        "tracks": NONE,
        "points": 1,
    }
    size = config.episodes_per_shard
    shards = [segments[start : start + size] for start in range(0, len(segments), size)]
    total = sum(segment.length for segment in segments)
    with progress(total, f"tokens into {config.output.name}", unit="frame") as bar:
        for number, shard in enumerate(shards):
            wanted = settings | {"episodes": [asdict(segment) for segment in shard]}
            folder = shard_folder(config.output, number)
            if not is_written(folder, wanted):
                write_shard(folder, _columns(shard, folders), settings=wanted)
            bar.update(sum(segment.length for segment in shard))
    return _finish(config, shards=shards, folders=folders, settings=settings)


def check_folders(folders: list[TokenFolder]) -> None:
    """Refuse folders that do not fit together."""
    first = folders[0]
    for folder in folders[1:]:
        found = (folder.side, folder.hz, folder.convention)
        if found != (first.side, first.hz, first.convention):
            raise UserError(
                f"{folder.root} and {first.root} differ in frame size, rate or actions; a store "
                "holds recordings of one kind"
            )


def segments_of(folders: list[TokenFolder]) -> list[Segment]:
    """Every segment, with a seed of its folder's split."""
    used: Counter[Split] = Counter()
    segments: list[Segment] = []
    for dataset, folder in enumerate(folders):
        for episode, (first, end) in enumerate(folder.borders()):
            seed = FIRST_SEEDS[folder.split] + used[folder.split] % SEEDS_PER_SPLIT
            used[folder.split] += 1
            segments.append(
                Segment(
                    dataset=dataset,
                    episode=episode,
                    first_frame=first,
                    seed=seed,
                    length=end - first,
                )
            )
    return segments


def _columns(
    segments: list[Segment], folders: list[TokenFolder]
) -> Iterator[dict[str, np.ndarray]]:
    """The store's columns of every segment."""
    for segment in segments:
        folder = folders[segment.dataset]
        rows = slice(segment.first_frame, segment.first_frame + segment.length)
        nothing = np.zeros((segment.length, 0))
        yield {
            "rgb": folder.code_rows(rows),
            "depth": nothing.astype(np.int32),
            "actions": folder.action_rows(rows),
            "state": nothing.astype(np.float32),
        } | track_columns(None, segment.length, points=1, cell_px=PATCH_PX)


def _finish(
    config: ImportTokens,
    *,
    shards: list[list[Segment]],
    folders: list[TokenFolder],
    settings: dict[str, Any],
) -> TokenStore:
    """Write the episode table, what counts as a clip and, last, `store.json`."""
    rows: list[dict[str, Any]] = []
    for number, shard in enumerate(shards):
        starts = np.cumsum([0, *(segment.length for segment in shard)])
        rows += [
            {
                "shard": number,
                **asdict(segment),
                "first_row": int(start),
                "split": SPLITS.index(split_of(segment.seed)),
            }
            for segment, start in zip(shard, starts[:-1], strict=True)
        ]
    with atomic_path(config.output / EPISODES) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    with atomic_path(config.output / CLIPS) as temporary:
        np.save(temporary, whole_episodes(np.array([row["length"] for row in rows])))
    store = StoreConfig(
        tokenizer=TokenizerConfig(
            image_size=folders[0].side * PATCH_PX, code_bits=CODE_BITS, downsampling=PATCH_PX
        ),
        tokenizer_sha256=settings["tokenizer_sha256"],
        cameras=(CAMERA,),
        annotator=NONE,
        datasets=tuple(str(root) for root in config.folders),
        controls=_control_statistics(folders, stride=config.stride),
        has_depth=False,
    )
    write_json(config.output / STORE, asdict(store))
    return TokenStore(config.output)


def _control_statistics(folders: list[TokenFolder], *, stride: int) -> ControlStatistics:
    """Mean and deviation of the actions over rows spread through the training folders."""
    measured = [folder for folder in folders if folder.split == "train"]
    if not measured:
        log.warning("no training folder: the control statistics are measured on all folders")
        measured = folders
    every = max(1, sum(folder.num_frames for folder in measured) // ROWS_MEASURED)
    rows = np.concatenate([folder.action_rows(slice(0, None, every)) for folder in measured])
    return ControlStatistics(
        convention=folders[0].convention,
        stride=stride,
        state_size=0,
        mean=tuple(rows.mean(axis=0, dtype=np.float64).tolist()),
        std=tuple(one_where_still(rows.std(axis=0, dtype=np.float64)).tolist()),
    )


def _tokenizer_hash(weights: Path | None) -> str:
    """Identity of the tokenizer that made the codes."""
    return TOKENIZER if weights is None else sha256_of(weights)
