"""Wrong images, planted in the first camera."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.pairs import position_places
from tests.planting.planting import FEW, Planted, in_each, moving_rows, rows_of


def slow_camera(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """A camera of half the rate: every second frame is the one before."""
    camera = spec.cameras[0].name

    def change(episode: Episode) -> Episode:
        rows = np.arange(len(episode)) // 2 * 2
        return replace(episode, frames=episode.frames | {camera: episode.frames[camera][rows]})

    return in_each(spec, episodes, change, where=f"camera {camera}")


def frozen_camera(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """In two episodes the camera freezes for five rows, five times."""
    camera = spec.cameras[0].name

    def change(episode: Episode) -> Episode:
        rows = np.arange(len(episode))
        for start in moving_rows(episode, spec, apart=8)[:5]:
            rows[start : start + 6] = start
        return replace(episode, frames=episode.frames | {camera: episode.frames[camera][rows]})

    changed = [change(one) if number < FEW else one for number, one in enumerate(episodes)]
    return Planted(spec=spec, episodes=changed, where=f"camera {camera}")


def upside_down(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Images turned by 180 degrees."""
    return _images(spec, episodes, lambda frames: frames[:, ::-1, ::-1])


def mirrored(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Images mirrored left to right."""
    return _images(spec, episodes, lambda frames: frames[:, :, ::-1])


def bottom_first(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Images stored bottom row first, as OpenGL gives them."""
    return _images(spec, episodes, lambda frames: frames[:, ::-1])


def video_late(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Images 0.25 s late."""
    camera, late_by = spec.cameras[0].name, round(0.25 * spec.fps)

    def change(episode: Episode) -> Episode:
        rows = np.maximum(np.arange(len(episode)) - late_by, 0)
        late = replace(episode, frames=episode.frames | {camera: episode.frames[camera][rows]})
        return rows_of(late, np.arange(late_by, len(episode)))

    return in_each(spec, episodes, change, where=f"camera {camera}")


def empty_frames(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Ten black frames in episode 1."""
    camera = spec.cameras[0].name
    frames = episodes[1].frames[camera].copy()
    frames[10:20] = 0
    black = replace(episodes[1], frames=episodes[1].frames | {camera: frames})
    return Planted(
        spec=spec, episodes=[episodes[0], black, *episodes[2:]], where=f"camera {camera}"
    )


def depth_cut(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The depth range ends at the median depth, amid the scene."""
    camera = spec.cameras[0]
    if not camera.has_depth:
        return None
    depth_m = np.concatenate([one.depth_m[camera.name][::20].ravel() for one in episodes])
    nearer = replace(spec, depth_max_m=float(np.median(depth_m)))
    return Planted(spec=nearer, episodes=episodes, where=f"camera {camera.name}")


def _images(
    spec: DatasetSpec, episodes: list[Episode], change: Callable[[np.ndarray], np.ndarray]
) -> Planted | None:
    if position_places(spec.state_names) is None:
        return None
    camera = spec.cameras[0].name

    def changed(episode: Episode) -> Episode:
        frames = np.ascontiguousarray(change(episode.frames[camera]))
        return replace(episode, frames=episode.frames | {camera: frames})

    return in_each(spec, episodes, changed, where=f"camera {camera}")
