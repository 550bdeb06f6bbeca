"""Repairs of a camera's images: turned, or mirrored back; depth and tracks go along."""

from dataclasses import replace

import numpy as np

from roboscape.dataset.records import DatasetSpec, Episode, Tracks
from roboscape.inspection.repairs.repair import Repair, SourceDataset, one_of
from roboscape.inspection.repairs.rows import require_camera


def rotate_video(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`rotate_video=wrist`: turned by 180 degrees."""
    camera = require_camera(value, spec, fix="rotate_video")
    cameras = tuple(
        replace(one, turned_deg=0) if one.name == camera else one for one in spec.cameras
    )
    return Repair(
        spec=replace(spec, cameras=cameras),
        episode=lambda _, episode: _flip(episode, camera, down=True, across=True),
    )


def flip_video(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`flip_video=wrist:vertical`: mirrored top to bottom (or `horizontal`, left to right)."""
    name, _, way = value.rpartition(":")
    camera = require_camera(name, spec, fix="flip_video")
    vertical = one_of(way, ("vertical", "horizontal"), fix="flip_video") == "vertical"
    return Repair(
        spec=spec,
        episode=lambda _, episode: _flip(episode, camera, down=vertical, across=not vertical),
    )


def _flip(episode: Episode, camera: str, *, down: bool, across: bool) -> Episode:
    """One camera's images, depth and tracks mirrored."""
    rows, columns = (slice(None, None, -1 if one else 1) for one in (down, across))
    height, width = episode.frames[camera].shape[1:3]

    def mirrored(tracks: Tracks) -> Tracks:
        xy_px = tracks.xy_px.copy()
        if across:
            xy_px[..., 0] = width - 1 - xy_px[..., 0]
        if down:
            xy_px[..., 1] = height - 1 - xy_px[..., 1]
        return replace(tracks, xy_px=xy_px)

    def turned(images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images[:, rows, columns])

    return replace(
        episode,
        frames=episode.frames | {camera: turned(episode.frames[camera])},
        depth_m={
            name: turned(depth_m) if name == camera else depth_m
            for name, depth_m in episode.depth_m.items()
        },
        tracks={
            name: mirrored(tracks) if name == camera else tracks
            for name, tracks in episode.tracks.items()
        },
    )
