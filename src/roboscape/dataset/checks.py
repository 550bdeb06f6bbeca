"""Checks that refuse episodes which would make a broken dataset."""

import numpy as np

from roboscape.core.errors import UserError
from roboscape.dataset.records import CameraSpec, DatasetSpec, Episode


class NotFiniteError(UserError):
    """A recording holds NaN or an infinite number."""


def check_episode(episode: Episode, spec: DatasetSpec, *, where: str) -> None:
    """Make sure that an episode is whole and fits the dataset.

    Args:
        episode: what is about to be written.
        spec: what the dataset promises of every episode.
        where: what the message calls the episode.

    Raises:
        ValueError: a wrong width or length, a missing camera, NaN, …
    """
    length = len(episode)
    if not length:
        raise UserError(f"{where} has no rows; leave it out")
    check_numbers(episode.actions, width=len(spec.action.names), what="action", where=where)
    check_numbers(episode.state, width=len(spec.state_names), what="state", where=where)
    objects = np.zeros((length, 0)) if episode.objects is None else episode.objects
    check_numbers(objects, width=len(spec.object_names), what="object", where=where)
    check_numbers(episode.reward[:, None], width=1, what="reward", where=where)
    for what, values in (
        ("state", episode.state),
        ("object", objects),
        ("reward", episode.reward),
    ):
        _check_length(len(values), length, what=f"{what} rows", where=where)
    _check_cameras(set(episode.frames), {camera.name for camera in spec.cameras}, "", where)
    with_depth = {camera.name for camera in spec.cameras if camera.has_depth}
    _check_cameras(set(episode.depth_m), with_depth, "depth of ", where)
    for camera in spec.cameras:
        _check_images(episode, camera, where=where)
    for name, tracks in episode.tracks.items():
        _check_length(len(tracks.xy_px), length, what=f"track frames of {name}", where=where)


def check_numbers(values: np.ndarray, *, width: int, what: str, where: str) -> None:
    """Make sure that rows of numbers have the right width and are finite."""
    if values.ndim != 2 or values.shape[1] != width:
        raise UserError(
            f"{where}: expected {what} rows of {width} numbers, got an array of shape "
            f"{values.shape}; make the recording and the dataset's names agree"
        )
    if not np.isfinite(values).all():
        row, dimension = np.argwhere(~np.isfinite(values))[0]
        raise NotFiniteError(
            f"{where}: {what} row {row}, dimension {dimension} is {values[row, dimension]}; every "
            "number must be finite: leave the episode out, or repair it"
        )


def _check_images(episode: Episode, camera: CameraSpec, *, where: str) -> None:
    """Make sure that the images of one camera have their length, size and kind."""
    frames = episode.frames[camera.name]
    _check_length(len(frames), len(episode), what=f"frames of camera {camera.name}", where=where)
    expected = (camera.height, camera.width, 3)
    if frames.shape[1:] != expected or frames.dtype != np.uint8:
        raise UserError(
            f"{where}: camera {camera.name} promises uint8 frames of shape {expected}, got "
            f"{frames.dtype} of shape {frames.shape[1:]}; resize them, or change the spec"
        )
    if not camera.has_depth:
        return
    depth_m = episode.depth_m[camera.name]
    _check_length(len(depth_m), len(episode), what=f"depth of {camera.name}", where=where)
    if depth_m.shape[1:] != expected[:2] or np.isnan(depth_m).any():
        raise UserError(
            f"{where}: camera {camera.name} promises depth of shape {expected[:2]} without NaN, "
            f"got shape {depth_m.shape[1:]} with {np.isnan(depth_m).sum()} NaN; write missing "
            "depth as 0"
        )


def _check_length(found: int, expected: int, *, what: str, where: str) -> None:
    if found != expected:
        raise UserError(
            f"{where}: {found} {what} for {expected} actions; every row needs all of its parts: "
            "cut the longer ones, or leave the episode out"
        )


def _check_cameras(found: set[str], expected: set[str], what: str, where: str) -> None:
    if found != expected:
        raise UserError(
            f"{where}: the dataset has the {what}cameras {sorted(expected)}, the episode brings "
            f"{sorted(found)}; give every episode the same cameras"
        )
