"""The token store: whole datasets as codes, memory-mapped, a random clip in microseconds."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float32, Int, Int32
from torch import Tensor

from roboscape.clips.controls import ControlStatistics, control_signals
from roboscape.clips.split import Split, split_of
from roboscape.core.config import config_from_dict
from roboscape.core.files import read_json
from roboscape.tokenizer.model import TokenizerConfig

STORE, EPISODES, CLIPS = "store.json", "episodes.parquet", "clips.npy"
COLUMNS = ("rgb", "depth", "actions", "state", "tracks", "visible")
"""One array a shard each: `<column>.npy`, frames along its first axis."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """What a store holds and what made it."""

    tokenizer: TokenizerConfig
    tokenizer_sha256: str
    """Hash of the tokenizer's weights: codes of another tokenizer mean something else."""
    camera: str
    annotator: str
    """Who made the tracks."""
    datasets: tuple[str, ...]
    controls: ControlStatistics
    has_depth: bool


@dataclass(frozen=True, kw_only=True)
class TokenClip:
    """A batch of clips as a world model takes them.

    Axes: b clip, t frame, n token (row by row), c control, k point.
    """

    rgb: Int32[Tensor, "b t n"]
    depth: Int32[Tensor, "b t n"]
    """The RGB codes again for a store without depth."""
    controls: Float32[Tensor, "b t c"]
    """Normalised; row t led into frame t, row 0 is zeros."""
    tracks: Float32[Tensor, "b t k 2"]
    """Points (x, y) in cells of the token grid: the cell is the floor."""
    visible: Bool[Tensor, "b t k"]


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """Every clip that fits into the episodes of a split."""

    episode: Int[np.ndarray, " n"]
    """Row of the store's episode table."""
    start: Int[np.ndarray, " n"]
    """First native row of the clip in its episode."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.episode)

    def first_of_episodes(self) -> Int[np.ndarray, " e"]:
        """Indices of the clips that begin where their episode begins."""
        return np.flatnonzero(self.start == 0)


@dataclass(frozen=True, kw_only=True)
class EpisodeTable:
    """One entry an episode."""

    shard: Int[np.ndarray, " e"]
    first_row: Int[np.ndarray, " e"]
    """In the shard."""
    length: Int[np.ndarray, " e"]
    """Native rows."""
    seed: Int[np.ndarray, " e"]

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.seed)


class TokenStore:
    """A finished store, opened in place; what it holds is read when asked for."""

    def __init__(self, root: Path) -> None:
        if not (root / STORE).is_file():
            raise ValueError(
                f"{root} is no finished token store (no {STORE}); run `roboscape tokenize`, which "
                "goes on where it stopped"
            )
        self.root = root
        self.config = config_from_dict(
            StoreConfig, read_json(root / STORE), where=str(root / STORE)
        )
        # `read_table` would import a dataset engine, and `to_numpy` pandas: a second each.
        table = pq.ParquetFile(root / EPISODES).read()
        self.episodes = EpisodeTable(
            **{
                name: np.array(table[name].to_pylist(), np.int64)
                for name in ("shard", "first_row", "length", "seed")
            }
        )
        self._shard = cache(self._open_shard)
        self.clips = cache(self._clips)

    @property
    def controls(self) -> ControlStatistics:
        """Convention, stride and normalisation of the control signals."""
        return self.config.controls

    @property
    def control_size(self) -> int:
        """Length of one control signal."""
        return self.config.controls.size

    @property
    def code_bits(self) -> int:
        """Bits of a code."""
        return self.config.tokenizer.code_bits

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        side = self.config.tokenizer.tokens_per_side
        return side, side

    @property
    def num_frames(self) -> int:
        """Native frames of all episodes together."""
        return int(self.episodes.length.sum())

    def check_tokenizer(self, sha256: str) -> None:
        """Refuse a tokenizer that did not make these codes."""
        if sha256 != self.config.tokenizer_sha256:
            raise ValueError(
                f"{self.root} was made with tokenizer {self.config.tokenizer_sha256[:12]}, this is "
                f"{sha256[:12]}: its codes mean something else. Use that tokenizer, or tokenize "
                "into another folder"
            )

    def _clips(self, split: Split, *, length: int = 16, stride: int = 4) -> ClipTable:
        """Every clip of a split: any start row that leaves room for `length` frames.

        Training takes only what the clip index kept; measuring takes everything.
        """
        rows_needed = (length - 1) * stride + 1
        of_split = np.array([split_of(int(seed)) == split for seed in self.episodes.seed], bool)
        room = np.maximum(self.episodes.length - rows_needed + 1, 0)
        everything = np.stack([np.arange(len(room)), np.zeros_like(room), room], axis=1)
        ranges = np.load(self.root / CLIPS) if split == "train" else everything
        episode, first, end = ranges[of_split[ranges[:, 0]]].T
        count = np.maximum(np.minimum(end, room[episode]) - first, 0)
        if not count.any():
            raise ValueError(
                f"{self.root} has no {split} clip of {length} frames at stride {stride} "
                f"({of_split.sum()} {split} episodes, longest {self.episodes.length.max()} rows, "
                f"{rows_needed} needed); tokenize more datasets into it, use shorter clips, or "
                "keep more in the clip index"
            )
        ends = np.cumsum(count)
        start = np.arange(ends[-1]) - np.repeat(ends - count - first, count)
        return ClipTable(episode=np.repeat(episode, count), start=start)

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
            raise ValueError(
                f"{self.root} was made for stride {self.controls.stride}, got {stride}; tokenize "
                "again with --stride, or train at the store's"
            )
        table = self.clips(split, length=length, stride=stride)
        pieces = [
            self._piece(int(table.episode[clip]), int(table.start[clip]), length=length)
            for clip in clips
        ]
        tensors = {
            name: torch.from_numpy(np.stack([piece[name] for piece in pieces]))
            for name in pieces[0]
        }
        controls = self.controls.normalize(tensors.pop("controls"))
        return TokenClip(controls=controls, **tensors)

    def _piece(self, episode: int, start: int, *, length: int) -> dict[str, np.ndarray]:
        """One clip's arrays, controls not yet normalised."""
        stride = self.controls.stride
        shard = self._shard(int(self.episodes.shard[episode]))
        first = int(self.episodes.first_row[episode]) + start
        rows = slice(first, first + (length - 1) * stride + 1, stride)
        controls = control_signals(
            shard["actions"][first : first + (length - 1) * stride],
            shard["state"][first],
            convention=self.controls.convention,
            stride=stride,
        )
        return {
            "rgb": shard["rgb"][rows],
            "depth": shard["depth" if self.config.has_depth else "rgb"][rows],
            "controls": controls,
            "tracks": shard["tracks"][rows].astype(np.float32),
            "visible": shard["visible"][rows],
        }

    def _open_shard(self, shard: int) -> dict[str, np.ndarray]:
        """A shard's arrays, mapped."""
        folder = shard_folder(self.root, shard)
        # Plain views: numpy's own class for mapped arrays makes every slice ten times as dear.
        return {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in COLUMNS
        }


def shard_folder(root: Path, shard: int) -> Path:
    """Where a shard lies."""
    return root / f"shard_{shard:05d}"
