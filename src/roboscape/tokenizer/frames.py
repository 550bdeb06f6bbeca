"""A flat, memory-mapped copy of some frames of a dataset, so that training reads at random."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.clips.reader import ClipReader
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.core.progress import progress
from roboscape.dataset.depth_choice import NONE
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.procedural import scenes

log = logging.getLogger(__name__)

SCENE_FRAMES = 4
"""Frames of a procedural scene."""
EpisodeFrames = tuple[UInt8[np.ndarray, "t h w 3"], Float[np.ndarray, "t h w"] | None]
"""RGB and depth in metres; no depth for a camera without."""


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

    def rgb_at(self, indices: Int[np.ndarray, " b"]) -> UInt8[Tensor, "b h w 3"]:
        """RGB of some frames."""
        return torch.from_numpy(self.rgb[indices])

    def depth_at(self, indices: Int[np.ndarray, " b"]) -> Float[Tensor, "b h w"]:
        """Depth of some frames, in metres."""
        if self.depth_m is None:
            raise UserError("these frames have no depth; annotate the dataset first")
        return torch.from_numpy(self.depth_m[indices].astype(np.float32))

    @cached_property
    def first(self) -> Int[np.ndarray, " n"]:
        """The first frame of every frame's episode."""
        return np.searchsorted(self.episode, self.episode)

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
    procedural_scenes: int = 0,
) -> FrameCache:
    """Open the cache of some episodes in `folder`; make it where missing or of other settings.

    Args:
        dataset: Where the episodes are.
        folder: Where the cache lies; its settings lie beside it.
        episodes: By their indices.
        camera: Name of the camera.
        depth: `recorded`, `none`, or who estimated it.
        stride: Rows from one cached frame to the next.
        procedural_scenes: Number of procedural scenes that follow the episodes; without depth where
            the episodes have none.
    """
    wanted = {
        "procedural_scenes": procedural_scenes,
        "root": str(dataset.root),
        "camera": camera,
        "depth": depth,
        "stride": stride,
        "episodes": episodes,
        "seeds": [dataset.episode_info(episode).seed for episode in episodes],
    }
    settings = folder.with_name(folder.name + ".json")
    if (folder / "index.json").is_file() and settings.is_file() and read_json(settings) == wanted:
        return FrameCache.open(folder)
    reader = ClipReader(dataset=dataset, cameras=(camera,), length=None, stride=stride, depth=depth)

    def frames() -> Iterable[EpisodeFrames]:
        with progress(len(episodes), f"caching {dataset.root.name}", unit="episode") as bar:
            for episode in episodes:
                clip = reader.read(episode)
                yield clip.frames[camera], clip.depth_m[camera]
                bar.update()
        with progress(procedural_scenes, "drawing scenes", unit="scene") as bar:
            (side,) = (one.height for one in dataset.spec.cameras if one.name == camera)
            for rgb, depth_m in scenes(range(procedural_scenes), frames=SCENE_FRAMES, side=side):
                yield rgb, None if depth == NONE else depth_m
                bar.update()

    cache = write_cache(folder, frames())
    write_json(settings, wanted)
    log.info("cached %d frames of %d episodes in %s", len(cache), len(episodes), folder)
    return cache
