"""The token store: whole datasets as codes, memory-mapped, a random clip in microseconds."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float32, Int, Int32
from torch import Tensor

from roboscape.clips.curriculum import NOT_GRADED
from roboscape.clips.split import SPLITS, Split
from roboscape.controls.encoder import ControlEncoder, ControlStatistics
from roboscape.controls.signals import imagined_signals
from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokens.state_reader import OBJECT_READER, StateReader

FORMAT = 2
"""Version of the layout; stores of another are tokenized again, which encodes nothing twice."""
STORE, EPISODES, CLIPS = "store.json", "episodes.parquet", "clips.npy"
COLUMNS = ("rgb", "depth", "actions", "state", "tracks", "visible")
"""One array a shard each: `<column>.npy`, frames along its first axis."""
CONTROL_ARRAYS = ("actions", "first_state", "state_before", "imagined")
"""What a clip's control signals are made of."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """The contents of a store and their origin."""

    tokenizer: TokenizerConfig
    tokenizer_sha256: str
    """Hash of the tokenizer's weights: codes of another tokenizer mean something else."""
    cameras: tuple[str, ...]
    """Cameras that a frame shows; tokens and tracks of one after those of another."""
    annotator: str
    """The annotator of the tracks."""
    datasets: tuple[str, ...]
    controls: ControlStatistics
    has_depth: bool
    encoder_sha256: str = ""
    """Hash of the tokenizer's encoder: another decoder reads the same codes. Empty in stores of
    tokens that were not made here, or before this was kept."""
    version: int = FORMAT
    imagined: str = ""
    """Name of each shard's array of imagined states (`tokens/imagined.py`); empty without them."""
    augmented_copies: int = 0
    """Copies of every training episode in other crops and colours, beside it."""


@dataclass(frozen=True, kw_only=True)
class TokenClip:
    """A batch of clips as a world model takes them.

    Axes: b clip, t frame, n token (row by row, view by view), c control, k point.
    """

    rgb: Int32[Tensor, "b t n"]
    depth: Int32[Tensor, "b t n"] | None
    """None for a store without depth; -1 in clips without depth in a store with it."""
    controls: Float32[Tensor, "b t c"]
    """Normalised; row t led into frame t, before row 0 there were no actions. Where the store has
    tasks, each row ends with the task's vector."""
    tracks: Float32[Tensor, "b t k 2"]
    """Points (x, y) in cells of the frame's token grid, its views below each other: the cell is
    the floor. As many of one view after those of another."""
    visible: Bool[Tensor, "b t k"]


@dataclass(frozen=True, kw_only=True)
class StoredFrames:
    """Single frames of a store, with the states that the robot had in them."""

    rgb: Int32[np.ndarray, "n t"]
    depth: Int32[np.ndarray, "n t"] | None
    """None for a store without depth."""
    state: Float32[np.ndarray, "n s"]


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """Every clip that fits into the episodes of a split, as ranges of start rows.

    A range may be empty, as those of other splits are. Neither the table's size nor making it grows
    with the number of clips in a range.
    """

    episode: Int[np.ndarray, " r"]
    """Row of the store's episode table."""
    first: Int[np.ndarray, " r"]
    """Start, a native row of the episode, of the range's first clip; the next starts a row on."""
    ends: Int[np.ndarray, " r"]
    """Clips up to the end of the range."""
    grade: Int[np.ndarray, " r"]
    """How hard its clips are: an index into `DIFFICULTIES`, or `NOT_GRADED`."""

    def __len__(self) -> int:
        """Number of clips."""
        return int(self.ends[-1])

    @property
    def counts(self) -> Int[np.ndarray, " r"]:
        """Clips of every range."""
        return np.diff(self.ends, prepend=0)

    def locate(
        self, clips: Int[np.ndarray, " b"]
    ) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
        """Episode and start row of some clips, by their indices."""
        clips = np.asarray(clips)
        if len(clips) and not 0 <= clips.min() <= clips.max() < len(self):
            raise IndexError(f"expected clips from 0 to {len(self) - 1}, got {clips}")
        ranges = np.searchsorted(self.ends, clips, side="right")
        # Counted from the range's end: its beginning would be one more array.
        back = self.ends[ranges] - clips
        count = self.ends[ranges] - np.where(ranges > 0, self.ends[ranges - 1], 0)
        return self.episode[ranges], self.first[ranges] + count - back

    def first_of_episodes(self) -> Int[np.ndarray, " e"]:
        """Indices of the clips that begin where their episode begins."""
        counts = self.counts
        return (self.ends - counts)[(self.first == 0) & (counts > 0)]


@dataclass(frozen=True, kw_only=True)
class EpisodeTable:
    """One entry an episode."""

    shard: Int[np.ndarray, " e"]
    first_row: Int[np.ndarray, " e"]
    """In the shard."""
    length: Int[np.ndarray, " e"]
    """Native rows."""
    seed: Int[np.ndarray, " e"]
    split: Int[np.ndarray, " e"]
    """Index into `SPLITS`."""

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.seed)


class TokenStore:
    """A finished store, opened in place; what it holds is read when asked for."""

    def __init__(self, root: Path) -> None:
        if not (root / STORE).is_file():
            raise UserError(
                f"{root} is no finished token store (no {STORE}); run `roboscape tokenize`, which "
                "goes on where it stopped"
            )
        self.root = root
        content = read_json(root / STORE)
        if (found := content.get("version", 1)) != FORMAT:
            raise UserError(
                f"{root} is a token store of format {found}, this version reads {FORMAT}; run the "
                "`roboscape tokenize` (or `import-tokens`) command that made it again: it "
                "encodes nothing twice"
            )
        self.config = config_from_dict(StoreConfig, with_cameras(content), where=str(root / STORE))
        # `read_table` would import a dataset engine, and `to_numpy` pandas: a second each.
        table = pq.ParquetFile(root / EPISODES).read()
        self.episodes = EpisodeTable(
            **{
                name: integers(table[name])
                for name in ("shard", "first_row", "length", "seed", "split")
            }
        )
        self.controls = ControlEncoder.of(self.config.controls, root)
        """Makes the control signals of the clips."""
        taken = self.controls.object_names
        self.object_reader = StateReader.from_pretrained(root / OBJECT_READER) if taken else None
        """Reads positions of objects off the tokens; None for an arm model that takes none."""
        self.tasks: list[str] = table["task"].to_pylist() if self.config.controls.task_size else []
        """What is to be done, one text an episode; none where signals hold no task."""
        self._shard = cache(self._open_shard)
        self.clips = cache(self._clips)

    @property
    def control_size(self) -> int:
        """Length of one control signal."""
        return self.controls.size

    @property
    def code_bits(self) -> int:
        """Bits of a code."""
        return self.config.tokenizer.code_bits

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens in a view."""
        side = self.config.tokenizer.tokens_per_side
        return side, side

    @property
    def num_frames(self) -> int:
        """Native frames of all episodes together."""
        return int(self.episodes.length.sum())

    def _clips(self, split: Split, *, length: int = 16, stride: int = 4) -> ClipTable:
        """Every clip of a split: any start row that leaves room for `length` frames.

        Training takes only what the clip index kept, and no clip across a cut; measuring takes
        everything.
        """
        rows_needed = (length - 1) * stride + 1
        of_split = self.episodes.split == SPLITS.index(split)
        room = np.where(of_split, np.maximum(self.episodes.length - rows_needed + 1, 0), 0)
        room = room.astype(np.int32)
        if split == "train":
            ranges = np.asarray(np.load(self.root / CLIPS, mmap_mode="r"))
        else:
            ranges = whole_episodes(self.episodes.length)
        # Columns stay where they lie: of millions of ranges a run looks at the few that it draws.
        episode, first, end, grade, shot_end = ranges.T
        last = np.minimum(np.minimum(end, shot_end - rows_needed + 1), room[episode])
        counts = np.maximum(last - first, 0)
        if not counts.any():
            raise UserError(
                f"{self.root} has no {split} clip of {length} frames at stride {stride} "
                f"({of_split.sum()} {split} episodes, longest {self.episodes.length.max()} rows, "
                f"{rows_needed} needed); tokenize more datasets into it, use shorter clips, or "
                "keep more in the clip index"
            )
        ends = np.cumsum(counts, dtype=np.int64)
        return ClipTable(episode=episode, first=first, ends=ends, grade=grade)

    def batch(
        self,
        clips: Int[np.ndarray, " b"],
        *,
        split: Split,
        length: int = 16,
        stride: int = 4,
    ) -> TokenClip:
        """Some clips of `clips(split, length=..., stride=...)`, by their indices.

        Raises:
            ValueError: another stride than the store's control statistics were measured at.
        """
        if stride != self.controls.stride:
            raise UserError(
                f"{self.root} was made for stride {self.controls.stride}, got {stride}; tokenize "
                "again with --stride, or train at the store's"
            )
        episodes, starts = self.clips(split, length=length, stride=stride).locate(clips)
        pieces = [
            self._piece(int(episode), int(start), length=length)
            for episode, start in zip(episodes, starts, strict=True)
        ]
        task = [self.tasks[episode] for episode in episodes] if self.tasks else None
        arrays = {name: np.stack([piece[name] for piece in pieces]) for name in pieces[0]}
        known = {name: arrays.pop(name) for name in CONTROL_ARRAYS if name in arrays}
        if self.object_reader is not None and "imagined" not in known:
            given = [arrays[name][:, 0] for name in ("rgb", "depth") if name in arrays]
            known["objects"] = self.object_reader.read(*map(torch.from_numpy, given))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return TokenClip(controls=self._controls(known, task=task), **{"depth": None, **tensors})

    def frames(self, episodes: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"]) -> StoredFrames:
        """Single frames, by their episodes and native rows."""
        shards = [self._shard(int(self.episodes.shard[episode])) for episode in episodes]
        places = self.episodes.first_row[episodes] + rows

        def gathered(name: str) -> np.ndarray:
            return np.stack([shard[name][at] for shard, at in zip(shards, places, strict=True)])

        return StoredFrames(
            rgb=gathered("rgb"),
            depth=gathered("depth") if self.config.has_depth else None,
            state=gathered("state").astype(np.float32),
        )

    def _controls(
        self, known: dict[str, np.ndarray], *, task: list[str] | None
    ) -> Float32[Tensor, "b t c"]:
        """Normalised control signals, from the imagined states where those reach far enough."""
        controls = self.controls
        if "imagined" not in known:
            return controls.encode(**known, task=task)
        rows = known["actions"].shape[1]
        signals = imagined_signals(
            known["actions"],
            # It takes a state a native row and looks at those of the frames alone.
            np.repeat(known["imagined"], controls.stride, axis=1)[:, : rows + 1],
            convention=controls.convention,
            stride=controls.stride,
        )
        text = controls.statistics.task_vectors(task, worlds=len(signals))
        return controls.statistics.inputs(torch.from_numpy(signals), text)

    def _piece(self, episode: int, start: int, *, length: int) -> dict[str, np.ndarray]:
        """One clip's arrays: what `TokenClip` and `_controls` take."""
        stride = self.controls.stride
        shard = self._shard(int(self.episodes.shard[episode]))
        first = int(self.episodes.first_row[episode]) + start
        rows = slice(first, first + (length - 1) * stride + 1, stride)
        visible = shard["visible"][rows]
        piece = {
            "rgb": shard["rgb"][rows],
            "actions": shard["actions"][first : first + (length - 1) * stride],
            "first_state": shard["state"][first],
            "state_before": shard["state"][first - 1 if start else first],
            "tracks": shard["tracks"][rows].astype(np.float32),
            # Another number: the place holds another track (`roboscape.tokens.encode`).
            "visible": (visible != 0) & (visible == visible[0]),
        }
        if self.config.has_depth:
            piece["depth"] = shard["depth"][rows]
        if self.config.imagined and length <= shard["imagined"].shape[1]:
            piece["imagined"] = shard["imagined"][first, :length]
        return piece

    def _open_shard(self, shard: int) -> dict[str, np.ndarray]:
        """A shard's arrays, mapped."""
        folder = shard_folder(self.root, shard)
        # Plain views: numpy's own class for mapped arrays makes every slice ten times as dear.
        files = {name: f"{name}.npy" for name in COLUMNS}
        if self.config.imagined:
            files["imagined"] = self.config.imagined
        return {
            name: np.asarray(np.load(folder / file, mmap_mode="r")) for name, file in files.items()
        }


def with_cameras(content: dict[str, Any]) -> dict[str, Any]:
    """Settings of a store or shard, in the present form where they name a single `camera`."""
    if "camera" not in content:
        return content
    return {name: content[name] for name in content if name != "camera"} | {
        "cameras": [content["camera"]]
    }


def whole_episodes(lengths: Int[np.ndarray, " e"]) -> Int32[np.ndarray, "e 5"]:
    """Every row of every episode as a range of starts, not graded and without cuts.

    The columns of `clips.npy`: episode of the store, first and end row of the starts, grade, and
    the row at which their shot ends, that no clip may reach.
    """
    nothing = np.zeros(len(lengths), np.int32)
    columns = [np.arange(len(lengths)), nothing, lengths, nothing + NOT_GRADED, lengths]
    return np.stack(columns, axis=1).astype(np.int32)


def integers(column: pa.ChunkedArray) -> Int[np.ndarray, " n"]:
    """A column of integers without gaps, read from its memory."""
    parts = []
    for chunk in column.chunks:
        numbers = np.frombuffer(chunk.buffers()[1], f"i{chunk.type.bit_width // 8}")
        parts.append(numbers[chunk.offset : chunk.offset + len(chunk)].astype(np.int64))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def shard_folder(root: Path, shard: int) -> Path:
    """The folder of a shard."""
    return root / f"shard_{shard:05d}"
