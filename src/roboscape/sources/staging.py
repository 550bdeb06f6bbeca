"""Finished episodes waiting on disk: the raw arrays of each in one whole file, by number."""

import json
from pathlib import Path

import numpy as np

from roboscape.core.files import atomic_path
from roboscape.dataset.records import Episode, Tracks

_SEPARATOR = "|"


def staged_path(folder: Path, number: int) -> Path:
    """The path of a staged episode."""
    return folder / f"episode_{number:08d}.npz"


def stage_episode(folder: Path, episode: Episode, *, number: int) -> None:
    """Write an episode; the file is there whole or not at all."""
    arrays = {"actions": episode.actions, "state": episode.state, "reward": episode.reward}
    arrays |= {f"frames{_SEPARATOR}{name}": value for name, value in episode.frames.items()}
    arrays |= {f"depth_m{_SEPARATOR}{name}": value for name, value in episode.depth_m.items()}
    if episode.objects is not None:
        arrays["objects"] = episode.objects
    for name, tracks in episode.tracks.items():
        arrays[f"xy_px{_SEPARATOR}{name}"] = tracks.xy_px
        arrays[f"visible{_SEPARATOR}{name}"] = tracks.visible
        if tracks.on_moving_body is not None:
            arrays[f"on_moving_body{_SEPARATOR}{name}"] = tracks.on_moving_body
    facts = {
        "task": episode.task,
        "success": episode.success,
        "seed": episode.seed,
        "split": episode.split,
        "behaviour": episode.behaviour,
    }
    with atomic_path(staged_path(folder, number)) as temporary:
        np.savez(temporary, facts=np.array(json.dumps(facts)), **arrays)


def load_staged(folder: Path, number: int) -> Episode:
    """Inverse of `stage_episode`."""
    with np.load(staged_path(folder, number)) as file:
        arrays = {name: file[name] for name in file.files}
    xy_px, visible = _by_camera(arrays, "xy_px"), _by_camera(arrays, "visible")
    on_moving_body = _by_camera(arrays, "on_moving_body")
    return Episode(
        frames=_by_camera(arrays, "frames"),
        depth_m=_by_camera(arrays, "depth_m"),
        actions=arrays["actions"],
        state=arrays["state"],
        reward=arrays["reward"],
        objects=arrays.get("objects"),
        tracks={
            name: Tracks(
                xy_px=xy_px[name],
                visible=visible[name],
                on_moving_body=on_moving_body.get(name),
            )
            for name in xy_px
        },
        **json.loads(str(arrays["facts"])),
    )


def _by_camera(arrays: dict[str, np.ndarray], field: str) -> dict[str, np.ndarray]:
    """The arrays of a field that exists once a camera."""
    prefix = field + _SEPARATOR
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
