"""One episode of a dataset as columns of a token store."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Int

from roboscape.annotate.tracks.camera_motion import (
    estimate_camera_motion,
    most_active,
    own_motion,
)
from roboscape.clips.reader import ClipReader
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.passes import through


@dataclass(frozen=True, kw_only=True)
class Source:
    """One episode to encode."""

    dataset: int
    episode: int
    seed: int
    length: int
    success: bool | None
    behaviour: str
    task: str
    split: int
    """Index into `SPLITS`."""

    @property
    def identity(self) -> dict[str, object]:
        """What its codes depend on: all but the split, so that another split encodes nothing."""
        return {name: value for name, value in asdict(self).items() if name != "split"}


def encoded_episodes(
    sources: list[Source],
    datasets: list[LeRobotDataset],
    tokenizer: Tokenizer,
    *,
    camera: str,
    depth: str,
    tracks: str,
    points: int,
) -> Iterator[dict[str, np.ndarray]]:
    """The columns of every episode, one after the other; arguments as in `Tokenize`."""
    readers = [
        ClipReader(
            dataset=dataset, cameras=(camera,), length=None, stride=1, depth=depth, tracks=tracks
        )
        for dataset in datasets
    ]
    for source in sources:
        clip = readers[source.dataset].read(source.episode)
        depth_m = clip.depth_m[camera]
        yield {
            "rgb": through(
                tokenizer.encode_rgb, torch.from_numpy(clip.frames[camera]), tokenizer
            ).numpy(),
            "depth": np.zeros((len(clip), 0), np.int32)
            if depth_m is None
            else through(tokenizer.encode_depth, torch.from_numpy(depth_m), tokenizer).numpy(),
            # A row's own action leads to the next row, so the last one lies beyond the clip.
            "actions": datasets[source.dataset].actions(source.episode),
            "state": clip.states,
        } | track_columns(
            clip.tracks.get(camera),
            source.length,
            points=points,
            cell_px=tokenizer.config.downsampling,
        )


def track_columns(
    tracks: Tracks | None, length: int, *, points: int, cell_px: int
) -> dict[str, np.ndarray]:
    """Tracks in cells of the token grid, exactly `points` of them; missing ones are invisible."""
    xy = np.zeros((length, points, 2), np.float16)
    visible = np.zeros((length, points), bool)
    if tracks is not None:
        kept = farthest_travelled(tracks, count=points)
        # Pixel centres are integers, so the image begins half a pixel before the first one.
        xy[:, : len(kept)] = np.nan_to_num(tracks.xy_px[:, kept] + 0.5) / cell_px
        visible[:, : len(kept)] = tracks.visible[:, kept]
    return {"tracks": xy, "visible": visible}


def farthest_travelled(tracks: Tracks, *, count: int) -> Int[np.ndarray, " k"]:
    """Indices of the `count` tracks with the longest paths, in their own order.

    Under a moving camera everything moves; then paths against the background count.
    """
    own = own_motion(tracks, estimate_camera_motion(tracks))
    return np.sort(most_active(own, count=count))
