"""One episode of a dataset as columns of a token store."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int

from roboscape.annotate.tracks.camera_motion import (
    estimate_camera_motion,
    most_active,
    own_motion,
)
from roboscape.clips.reader import Clip, ClipReader
from roboscape.dataset.annotations import annotated_episodes, annotations_folder
from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.tokenizer.codes import MISSING
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.passes import through
from roboscape.tokens.augment import Augmentation


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
    copy: int = 0
    """0 for the episode as it was recorded, else the number of an augmented copy."""

    @property
    def identity(self) -> dict[str, object]:
        """The settings that its codes depend on: all but the split, which changes no codes.

        A recording's own has no `copy`, as in stores that were written without copies.
        """
        left_out = {"split"} if self.copy else {"split", "copy"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def encoded_episodes(
    sources: list[Source],
    datasets: list[LeRobotDataset],
    tokenizer: Tokenizer,
    *,
    cameras: tuple[str, ...],
    depth: str,
    tracks: str,
    points: int,
) -> Iterator[dict[str, np.ndarray]]:
    """The columns of every episode, one after the other; arguments as in `Tokenize`."""
    # The tracks of one among several may be missing, those of a single one are an error then.
    alone = len(datasets) * len(cameras) == 1
    readers = {
        (number, camera): ClipReader(
            dataset=dataset,
            cameras=(camera,),
            length=None,
            stride=1,
            depth=depth if depth != RECORDED or records_depth(dataset, camera) else NONE,
            tracks=tracks if alone or has_tracks(dataset, camera, tracks) else NONE,
        )
        for number, dataset in enumerate(datasets)
        for camera in cameras
    }
    for source in sources:
        clips = [
            augmented(readers[source.dataset, camera].read(source.episode), source, view=view)
            for view, camera in enumerate(cameras)
        ]
        views = [
            view_columns(clip, camera, tokenizer, depth=depth, points=points, number=number)
            for number, (camera, clip) in enumerate(zip(cameras, clips, strict=True))
        ]
        yield {name: np.concatenate([view[name] for view in views], 1) for name in views[0]} | {
            # A row's own action leads to the next row, so the last one lies beyond the clip.
            "actions": datasets[source.dataset].actions(source.episode),
            "state": clips[0].states,
        }


def augmented(clip: Clip, source: Source, *, view: int) -> Clip:
    """An episode as one camera saw it, or as an augmented copy shows it."""
    if not source.copy:
        return clip
    place = (source.dataset, source.episode, source.copy, view)
    (camera,) = clip.frames
    return Augmentation.draw(*place).apply(clip, camera)


def view_columns(
    clip: Clip, camera: str, tokenizer: Tokenizer, *, depth: str, points: int, number: int
) -> dict[str, np.ndarray]:
    """The columns of one camera: its tokens and tracks, as view `number` of the frames."""
    config, depth_m = tokenizer.config, clip.depth_m[camera]
    missing = np.full(0 if depth == NONE else config.tokens_per_frame, MISSING, np.int32)
    rgb = through(tokenizer.encode_rgb, torch.from_numpy(clip.frames[camera]), tokenizer)
    columns = {
        "rgb": rgb.numpy(),
        "depth": np.tile(missing, (len(clip), 1))
        if depth_m is None
        else through(tokenizer.encode_depth, torch.from_numpy(depth_m), tokenizer).numpy(),
    } | track_columns(
        clip.tracks.get(camera), len(clip), points=points, cell_px=config.downsampling
    )
    # Points that leave a view at its lower edge are not in the view below it.
    tracks, visible = columns["tracks"], columns["visible"]
    visible[(tracks[..., 1] < 0) | (tracks[..., 1] >= config.tokens_per_side)] = 0
    tracks[..., 1] += number * config.tokens_per_side
    return columns


def records_depth(dataset: LeRobotDataset, camera: str) -> bool:
    """True if a camera recorded depth."""
    return any(one.has_depth for one in dataset.spec.cameras if one.name == camera)


def has_tracks(dataset: LeRobotDataset, camera: str, annotator: str) -> bool:
    """True if an annotator has followed points in any of a dataset's episodes."""
    root = annotations_folder(dataset.root)
    return bool(annotated_episodes(root, kind="tracks", annotator=annotator, camera=camera))


def track_columns(
    tracks: Tracks | None, length: int, *, points: int, cell_px: int
) -> dict[str, np.ndarray]:
    """Tracks in cells of the token grid, at most `points` at a time.

    A place in the columns holds one track after another. `visible` is 0 where there is nothing to
    see, and else a number that separates a clip's tracks from those before or after it.
    """
    xy = np.zeros((length, points, 2), np.float16)
    visible = np.zeros((length, points), np.uint8)
    if tracks is not None:
        # Pixel centres are integers, so the image begins half a pixel before the first one.
        cells = np.nan_to_num(tracks.xy_px + 0.5) / cell_px
        for track, place, number in places(tracks, count=points):
            rows = slice(*lifetime(tracks.visible[:, track]))
            xy[rows, place] = cells[rows, track]
            visible[rows, place] = tracks.visible[rows, track] * number
    return {"tracks": xy, "visible": visible}


def lifetime(visible: Bool[np.ndarray, " t"]) -> tuple[int, int]:
    """First row in which a track is visible, and the row after the last."""
    rows = np.flatnonzero(visible)
    return int(rows[0]), int(rows[-1]) + 1


def places(tracks: Tracks, *, count: int) -> list[tuple[int, int, int]]:
    """The place, of `count`, of each track, and its number there, from 1 to 255.

    Tracks that begin together share the places with those of other beginnings by how many they are;
    of each, the farthest travelled are kept.
    """
    lifetimes = {k: lifetime(tracks.visible[:, k]) for k in np.flatnonzero(tracks.visible.any(0))}
    groups: dict[int, list[int]] = {}
    for track in farthest_travelled(tracks, count=tracks.visible.shape[1]).tolist():
        if track in lifetimes:
            groups.setdefault(lifetimes[track][0], []).append(track)
    crowd = np.zeros(len(tracks.visible))
    extents = {first: max(lifetimes[k][1] for k in group) for first, group in groups.items()}
    for first, group in groups.items():
        crowd[first : extents[first]] += len(group)
    free_from, number, found = np.zeros(count, int), np.zeros(count, int), []
    for first, group in sorted(groups.items()):
        share = count * len(group) / crowd[first : extents[first]].max()
        free = np.flatnonzero(free_from <= first)
        for track, place in zip(sorted(group[: max(1, int(share))]), free, strict=False):
            number[place] = number[place] % 255 + 1
            free_from[place] = lifetimes[track][1]
            found.append((track, int(place), int(number[place])))
    return found


def farthest_travelled(tracks: Tracks, *, count: int) -> Int[np.ndarray, " k"]:
    """Indices of the `count` tracks with the longest paths, the longest first.

    Under a moving camera everything moves; then paths against the background count.
    """
    return most_active(own_motion(tracks, estimate_camera_motion(tracks)), count=count)
