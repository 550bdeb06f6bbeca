"""The one reader of clips: strided pieces of episodes, with all that was recorded and estimated.

    reader = ClipReader(dataset, length=16, stride=4, depth="recorded", tracks="simulator")
    for place in reader.places("validation"):
        clip = reader.read(place.episode, place.row)

Images are decoded when a clip is read; nothing is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from roboscape.clips.split import episodes_of
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import annotations_folder, read_tracks
from roboscape.dataset.depth_choice import NONE, RECORDED, depth_from
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split, Tracks


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place where a clip begins."""

    episode: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A strided piece of an episode. Axes: t frame, n native row, h height, w width.

    Frame t is row `start + t * stride` of the episode.
    """

    episode: int
    start: int
    """Row of frame 0."""
    stride: int
    """Native rows from one frame to the next."""
    frame_hz: float
    """Frames a second."""
    split: Split
    task: str
    """What is to be done, in words."""
    frames: dict[str, UInt8[np.ndarray, "t h w 3"]]
    """By camera name."""
    depth_m: dict[str, Float32[np.ndarray, "t h w"] | None]
    """By camera name, in metres along the optical axis; None where none was asked for."""
    actions: Float32[np.ndarray, "n a"]
    """At the native rate, those that lead from frame 0 to the last one: n = (t - 1) * stride."""
    states: Float32[np.ndarray, "t s"]
    """Proprioception at the frames; no columns where the dataset has none."""
    state_before: Float32[np.ndarray, " s"]
    """State of the row before frame 0, which gives the arm's speed; at row 0, that row's own."""
    tracks: dict[str, Tracks]
    """By camera name, pixels and visibility at the frames; empty where none were asked for."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.states)


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Reads clips of one shape from a dataset.

    Raises:
        ValueError: the dataset lacks one of the cameras, or the length or stride is below 1. While
            reading: a broken file, depth or tracks that are not there, or a clip that does not fit.
    """

    dataset: LeRobotDataset
    cameras: tuple[str, ...] = ()
    """Names, in the order wanted; the dataset's first one where empty."""
    length: int | None = 16
    """Frames of a clip; None: as many as the episode has from the clip's start on."""
    stride: int = 4
    """Native rows from one frame to the next."""
    depth: str = RECORDED
    """`recorded`, `none`, or the annotator whose estimates are read."""
    tracks: str = NONE
    """The annotator whose tracks are read, or `none`."""

    def __post_init__(self) -> None:
        """Refuse clips of nothing and cameras that are not there."""
        if self.stride < 1 or (self.length is not None and self.length < 1):
            raise UserError(
                f"expected length >= 1 and stride >= 1, got {self.length} and {self.stride}"
            )
        known = [camera.name for camera in self.dataset.spec.cameras]
        if unknown := [name for name in self.cameras if name not in known]:
            raise UserError(
                f"{self.dataset.root} has no camera `{', '.join(unknown)}`; it has {sorted(known)}"
            )

    @property
    def chosen_cameras(self) -> tuple[str, ...]:
        """The cameras that are read."""
        return self.cameras or (self.dataset.spec.cameras[0].name,)

    def places(self, split: Split, *, every: int | None = None) -> Iterator[Place]:
        """The places where the clips of a split begin, episode by episode.

        Args:
            split: Which episodes.
            every: Rows from one start to the next; None: only where episodes begin.
        """
        rows = 1 if self.length is None else (self.length - 1) * self.stride + 1
        for episode in episodes_of(self.dataset, split):
            last = self.dataset.episode_info(episode).length - rows
            for row in range(0, last + 1, every or max(1, last + 1)):
                yield Place(episode=episode, row=row)

    def read(self, episode: int, start: int = 0) -> Clip:
        """The clip that begins in a row of an episode."""
        info = self.dataset.episode_info(episode)
        length = self.length
        if length is None:
            length = len(range(start, info.length, self.stride))
        last = start + (length - 1) * self.stride
        if not 0 <= start <= last < info.length:
            raise UserError(
                f"episode {episode} of {self.dataset.root} has {info.length} rows; {length} frames "
                f"at stride {self.stride} from row {start} end in row {last}"
            )
        rows = slice(start, last + 1, self.stride)
        state = self.dataset.state(episode)
        return Clip(
            episode=episode,
            start=start,
            stride=self.stride,
            frame_hz=self.dataset.spec.fps / self.stride,
            split=info.split,
            task=info.task,
            frames={name: self.dataset.frames(episode, name, rows) for name in self.chosen_cameras},
            depth_m={
                name: depth_from(self.dataset, episode, camera=name, depth=self.depth, rows=rows)
                for name in self.chosen_cameras
            },
            actions=self.dataset.actions(episode)[start:last],
            states=state[rows],
            state_before=state[max(start - 1, 0)],
            tracks=self._tracks(episode, rows),
        )

    def _tracks(self, episode: int, rows: slice) -> dict[str, Tracks]:
        """Tracks at some rows, by camera."""
        if self.tracks == NONE:
            return {}
        root = annotations_folder(self.dataset.root)
        found = {
            name: read_tracks(root, annotator=self.tracks, camera=name, episode=episode)
            for name in self.chosen_cameras
        }
        return {
            name: Tracks(
                xy_px=one.xy_px[rows],
                visible=one.visible[rows],
                on_moving_body=one.on_moving_body,
            )
            for name, one in found.items()
        }
