"""A flat, memory-mapped copy of some frames of a dataset, so that training reads at random."""

import functools
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.clips.reader import ClipReader
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.procedural import scene_frames

log = logging.getLogger(__name__)

SCENE_FRAMES = 4
"""Frames of a procedural scene."""
SCENES_PER_PROCESS = 100
"""Fewer are not worth starting another process."""
EpisodeFrames = tuple[UInt8[np.ndarray, "t h w 3"], Float[np.ndarray, "t h w"] | None]
"""RGB and depth in metres; no depth for a camera without."""


@runtime_checkable
class Frames(Protocol):
    """Frames of many episodes by their indices; those that have depth come first."""

    def __len__(self) -> int:
        """Number of frames."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def num_with_depth(self) -> int:
        """Frames with depth: those of lower indices than this."""
        ...

    @property
    def episode(self) -> Int[np.ndarray, " n"]:
        """The episode of a frame."""
        ...

    def first_of(self, indices: Int[np.ndarray, "*b"]) -> Int[np.ndarray, "*b"]:
        """The first frame of the episode of some frames."""
        ...

    def rgb_at(self, indices: Int[np.ndarray, " b"]) -> UInt8[Tensor, "b h w 3"]:
        """RGB of some frames."""
        ...

    def depth_at(self, indices: Int[np.ndarray, " b"]) -> Float[Tensor, "b h w"]:
        """Depth of some frames that have it, in metres."""
        ...

    def draw(self, generator: np.random.Generator, *, half: int) -> Int[np.ndarray, "2 half"]:
        """Random frames: some, and others that have depth; any where none has."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrameCache:
    """Frames of many episodes one after the other; memory use does not grow with their number."""

    rgb: UInt8[np.ndarray, "n h w 3"]
    depth_m: Float[np.ndarray, "n h w"] | None
    """As float16: a relative error of 0.05 %."""
    episode: Int[np.ndarray, " n"]
    """Which episode a frame is from; neighbours of one episode lie `stride` rows apart."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.rgb)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[1], self.rgb.shape[2]

    @property
    def num_with_depth(self) -> int:
        """All frames or none."""
        return 0 if self.depth_m is None else len(self)

    def draw(self, generator: np.random.Generator, *, half: int) -> Int[np.ndarray, "2 half"]:
        """Random frames, all alike."""
        return generator.integers(len(self), size=(2, half))

    def rgb_at(self, indices: Int[np.ndarray, " b"]) -> UInt8[Tensor, "b h w 3"]:
        """RGB of some frames."""
        return torch.from_numpy(self.rgb[indices])

    def depth_at(self, indices: Int[np.ndarray, " b"]) -> Float[Tensor, "b h w"]:
        """Depth of some frames, in metres."""
        if self.depth_m is None:
            raise UserError("these frames have no depth; annotate the dataset first")
        return torch.from_numpy(self.depth_m[indices].astype(np.float32))

    def first_of(self, indices: Int[np.ndarray, "*b"]) -> Int[np.ndarray, "*b"]:
        """The first frame of the episode of some frames."""
        return np.searchsorted(self.episode, self.episode[indices])

    @classmethod
    def open(cls, folder: Path) -> "FrameCache":
        """Map a cache that `write_cache` made."""
        index = read_json(folder / "index.json")
        shape = (index["frames"], index["height"], index["width"])
        depth = folder / "depth.float16"
        return cls(
            rgb=np.memmap(folder / "rgb.uint8", np.uint8, mode="r", shape=(*shape, 3)),
            depth_m=np.memmap(depth, np.float16, "r", shape=shape) if depth.is_file() else None,
            episode=np.repeat(np.arange(len(index["lengths"])), index["lengths"]),
        )


class JoinedFrames:
    """Several caches as one, opened where they lie; those with depth come first.

    Args:
        parts: The caches, of one size.
        balance: Power of a part's number of frames that its share of `draw` is proportional to.

    Raises:
        ValueError: there are none, or they differ in size.
    """

    def __init__(self, parts: Sequence[FrameCache], *, balance: float = 1.0) -> None:
        sizes = {part.size for part in parts}
        if len(sizes) != 1:
            raise UserError(
                f"frames that are learnt from together must share their size, got {sorted(sizes)} "
                "(height, width); import the recordings again with one --image-size"
            )
        (self.size,) = sizes
        self._parts = sorted(parts, key=lambda part: part.depth_m is None)
        lengths = [len(part) for part in self._parts]
        self._starts = np.cumsum([0, *lengths])
        self._shares = np.array(lengths, float) ** balance
        self.num_with_depth = sum(part.num_with_depth for part in self._parts)
        episodes = np.cumsum([0, *(int(part.episode[-1]) + 1 for part in self._parts)])
        self.episode = np.concatenate(
            [part.episode + number for part, number in zip(self._parts, episodes, strict=False)]
        )

    def __len__(self) -> int:
        """Number of frames."""
        return int(self._starts[-1])

    def first_of(self, indices: Int[np.ndarray, "*b"]) -> Int[np.ndarray, "*b"]:
        """The first frame of the episode of some frames."""
        return np.searchsorted(self.episode, self.episode[indices])

    def rgb_at(self, indices: Int[np.ndarray, " b"]) -> UInt8[Tensor, "b h w 3"]:
        """RGB of some frames."""
        return torch.cat([part.rgb_at(place) for part, place in self._located(indices)])

    def depth_at(self, indices: Int[np.ndarray, " b"]) -> Float[Tensor, "b h w"]:
        """Depth of some frames that have it, in metres."""
        return torch.cat([part.depth_at(place) for part, place in self._located(indices)])

    def draw(self, generator: np.random.Generator, *, half: int) -> Int[np.ndarray, "2 half"]:
        """Random frames: first a part, by its share, then a frame of it."""
        with_depth = sum(part.depth_m is not None for part in self._parts)
        parts = len(self._parts)
        return np.stack(
            [self._draw(generator, half, among=count) for count in (parts, with_depth or parts)]
        )

    def _draw(
        self, generator: np.random.Generator, count: int, *, among: int
    ) -> Int[np.ndarray, " count"]:
        """Random frames of the first parts."""
        shares = self._shares[:among]
        part = generator.choice(among, size=count, p=shares / shares.sum())
        lengths = np.diff(self._starts)[part]
        return self._starts[part] + (generator.random(count) * lengths).astype(np.int64)

    def _located(
        self, indices: Int[np.ndarray, " b"]
    ) -> Iterator[tuple[FrameCache, Int[np.ndarray, " 1"]]]:
        """The part of every frame, and its index there."""
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        for part, index in zip(parts, indices - self._starts[parts], strict=True):
            yield self._parts[part], np.array([index])


def write_cache(folder: Path, episodes: Iterable[EpisodeFrames]) -> FrameCache:
    """Write every episode's frames into `folder`, whole or not at all, and open it."""
    lengths: list[int] = []
    height = width = 0
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        for rgb, depth_m in episodes:
            lengths.append(len(rgb))
            height, width = rgb.shape[1:3]
            append(temporary / "rgb.uint8", rgb)
            if depth_m is not None:
                append(temporary / "depth.float16", depth_m.astype(np.float16))
        if not lengths:
            raise UserError(f"no episodes to cache for {folder}; the dataset is empty")
        index = {"frames": sum(lengths), "height": height, "width": width, "lengths": lengths}
        write_json(temporary / "index.json", index)
    return FrameCache.open(folder)


def append(path: Path, array: np.ndarray) -> None:
    """Add an array's bytes to the end of a file."""
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(array).tobytes())


def cache_dataset(
    dataset: LeRobotDataset,
    folder: Path,
    *,
    episodes: list[int],
    camera: str,
    depth: str,
    stride: int,
) -> FrameCache:
    """Open the cache of some episodes in `folder`; make it where missing or of other settings.

    Args:
        dataset: Where the episodes are.
        folder: Where the cache lies; its settings lie beside it.
        episodes: By their indices.
        camera: Name of the camera.
        depth: `recorded`, `none`, or who estimated it.
        stride: Rows from one cached frame to the next.
    """
    wanted = {
        "root": str(dataset.root),
        "camera": camera,
        "depth": depth,
        "stride": stride,
        "episodes": episodes,
        "seeds": [dataset.episode_info(episode).seed for episode in episodes],
    }
    reader = ClipReader(dataset=dataset, cameras=(camera,), length=None, stride=stride, depth=depth)

    def frames() -> Iterable[EpisodeFrames]:
        with progress(len(episodes), f"caching {dataset.root.name}", unit="episode") as bar:
            for episode in episodes:
                clip = reader.read(episode)
                yield clip.frames[camera], clip.depth_m[camera]
                bar.update()

    return cached(folder, frames, settings=wanted)


def cache_scenes(folder: Path, *, number: int, side: int, depth: bool) -> FrameCache:
    """Open the cache of procedural scenes in `folder`; make it where missing or of other settings.

    Args:
        folder: Where the cache lies; its settings lie beside it.
        number: Number of scenes.
        side: Height and width in pixels.
        depth: Whether to keep their depth.
    """

    def frames() -> Iterable[EpisodeFrames]:
        with progress(number, "drawing scenes", unit="scene") as bar:
            for rgb, depth_m in drawn_scenes(number, side=side):
                yield rgb, depth_m if depth else None
                bar.update()

    wanted = {"procedural_scenes": number, "side": side, "depth": depth}
    return cached(folder, frames, settings=wanted)


def drawn_scenes(number: int, *, side: int) -> Iterator[EpisodeFrames]:
    """Procedural scenes in order, drawn by as many processes as there are cores to use."""
    workers = min(os.cpu_count() or 1, number // SCENES_PER_PROCESS)
    if workers < 2:
        for one in range(number):
            yield drawn_scene(one, side)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(functools.partial(drawn_scene, side=side), range(number), chunksize=4)


def drawn_scene(number: int, side: int) -> EpisodeFrames:
    """One procedural scene."""
    return scene_frames(number, frames=SCENE_FRAMES, side=side)


def cached(
    folder: Path,
    frames: Callable[[], Iterable[EpisodeFrames]],
    *,
    settings: Mapping[str, object],
) -> FrameCache:
    """Open the cache in a folder, which is first made where missing or of other settings."""
    path = folder.with_name(folder.name + ".json")
    if (folder / "index.json").is_file() and path.is_file() and read_json(path) == settings:
        return FrameCache.open(folder)
    cache = write_cache(folder, frames())
    write_json(path, settings)
    log.info("cached %d frames in %s", len(cache), folder)
    return cache
