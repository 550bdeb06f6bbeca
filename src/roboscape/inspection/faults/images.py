"""Images that look wrong: frozen, out of step with the numbers, upside down, empty."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.finding import Finding, Line, Plot, drop_episodes, list_of
from roboscape.inspection.faults.lags import lag_profile
from roboscape.inspection.faults.pairs import grippers, position_places
from roboscape.inspection.faults.rows import MIN_ODD_ROWS, relative_motion
from roboscape.inspection.survey import CameraSurvey, EpisodeRows, Survey, ranges_of

REPEATED_SHARE = 0.02
"""Share of the rows with motion whose image is the one before."""
REPEATED_SHARE_ALONE = 0.2
"""The same of all rows, where no state says whether anything moved."""
REPEATED_OF_SLOW_CAMERA = 0.3
"""From this share on a camera does not freeze, it is slow: half the rate repeats half the rows."""
VIDEO_LAG_S = 0.15
DEPTH_CLIPPED_SHARE = 0.01
MOST_MOVING = 0.5
"""A camera in which more than this share of the pixels moves is itself moving."""
MIN_EXPLAINED = 0.3
"""Share of the image's motion that the hand's motion must explain, else nothing is reported."""
CLEARLY = 0.25
"""Cosine beyond which an axis clearly points up, or a camera clearly looks down."""


def image_faults(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about the cameras."""
    ranges = ranges_of(seen.values("state")) if len(seen.values("state")) else np.zeros(0)
    for name, camera in seen.cameras.items():
        if not camera.frames:
            continue
        yield from _frozen(seen, spec, name, camera, ranges=ranges)
        yield from _late(seen, spec, name, camera, ranges=ranges)
        yield from _orientation(seen, spec, name, camera)
        if camera.empty:
            total = sum(camera.empty.values())
            yield Finding(
                kind="empty_frames",
                where=f"camera {name}",
                text=f"camera {name} shows a single colour in {total} of {camera.frames} frames, "
                f"in episodes {list_of(list(camera.empty))}",
                fix=drop_episodes(list(camera.empty)),
                plot=_empty_frames(camera, name),
            )
        yield from _depth(spec, name, camera)


def _empty_frames(camera: CameraSurvey, name: str) -> Plot:
    counts = np.array([camera.empty.get(number, 0) for number in camera.changes])
    line = Line(label=name, x=np.array(list(camera.changes)), y=counts, points=True)
    return Plot(x_label="episode", y_label="frames of one colour", lines=(line,))


def _depth(spec: DatasetSpec, name: str, camera: CameraSurvey) -> Iterator[Finding]:
    """Depth cut off at the ends of the range."""
    if camera.depth_clipped <= DEPTH_CLIPPED_SHARE or camera.depth_sample_m is None:
        return
    counts, edges = np.histogram(camera.depth_sample_m, bins=60)
    line = Line(label=name, x=(edges[1:] + edges[:-1]) / 2, y=counts / counts.sum())
    yield Finding(
        kind="depth_clipped",
        where=f"camera {name}",
        text=f"{camera.depth_clipped:.1%} of the depth of {name} lies at the ends of the "
        f"range {spec.depth_min_m:g} to {spec.depth_max_m:g} m: it is cut off, or missing; what is "
        "lost is only to be had by recording with another range",
        plot=Plot(x_label="depth (m)", y_label="share of the pixels", lines=(line,)),
    )


@dataclass(frozen=True, kw_only=True)
class ImageAxes:
    """The motion of the hand's picture for a motion of the hand along the robot's axes x, y, z."""

    right: Float[np.ndarray, "3"]
    """Image widths to the right, a metre along each axis."""
    down: Float[np.ndarray, "3"]
    explained: float
    """Share of the image's motion that the hand's motion explains."""

    @property
    def z_down(self) -> float:
        """Cosine between the image's downward axis and the robot's z; -1 in an upright picture."""
        return float(self.down[2] / np.linalg.norm(self.down))

    @property
    def looks_up(self) -> float:
        """Height of right x down, the way that a camera looks if its picture is not mirrored."""
        across = np.cross(self.right, self.down)
        return float(across[2] / (np.linalg.norm(self.right) * np.linalg.norm(self.down)))


def image_axes(
    flow: Float[np.ndarray, "n 2"], motion_m: Float[np.ndarray, "n 3"]
) -> ImageAxes | None:
    """Least squares of the moving pixels' flow on the hand's motion; None where it does not fit."""
    moving = (np.abs(flow).sum(axis=1) > 0) & (np.abs(motion_m).sum(axis=1) > 0)
    flow, motion_m = flow[moving].astype(np.float64), motion_m[moving].astype(np.float64)
    if len(flow) < 30 or np.linalg.matrix_rank(motion_m, tol=1e-6) < 3:
        return None
    axes = np.linalg.lstsq(motion_m, flow, rcond=None)[0]
    explained = 1 - ((flow - motion_m @ axes) ** 2).sum() / (flow**2).sum()
    return ImageAxes(right=axes[:, 0], down=axes[:, 1], explained=float(explained))


def _looked_at(seen: Survey, camera: CameraSurvey) -> list[EpisodeRows]:
    return [
        rows for rows in seen.episodes if rows.episode in camera.changes and len(rows.state) > 1
    ]


def _visible_speed(
    rows: EpisodeRows, spec: DatasetSpec, *, ranges: np.ndarray
) -> Float[np.ndarray, " m"]:
    """Speed of what a camera sees most of: the hand where its position is named, or the arm."""
    places = position_places(spec.state_names)
    if places is not None:
        return np.linalg.norm(np.diff(rows.state[:, places].astype(np.float64), axis=0), axis=1)
    arm = np.where(grippers(spec.state_names), np.inf, ranges)
    return np.linalg.norm(relative_motion(rows.state, ranges=arm), axis=1)


def _logarithm(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m 1"]:
    """So that slow motion counts as much as fast; a tenth of the median is as good as nothing."""
    numbers = values.astype(np.float64)
    return np.log(numbers + 0.1 * np.median(numbers) + 1e-9)[:, None]


def _frozen(
    seen: Survey, spec: DatasetSpec, name: str, camera: CameraSurvey, *, ranges: np.ndarray
) -> Iterator[Finding]:
    """Images that stand still while the robot moves."""
    frozen: dict[int, np.ndarray] = {}
    considered = 0
    episodes = _looked_at(seen, camera)
    with_state = bool(seen.state_names)
    for rows in episodes:
        repeated = camera.changes[rows.episode].repeated
        moving = np.ones(len(repeated), bool)
        if with_state:
            speed = _visible_speed(rows, spec, ranges=ranges)
            moving = speed > 0.5 * np.median(speed)
        frozen[rows.episode] = repeated & moving
        considered += int(moving.sum())
    count = sum(int(found.sum()) for found in frozen.values())
    share = count / max(considered, 1)
    if count < MIN_ODD_ROWS or share <= (REPEATED_SHARE if with_state else REPEATED_SHARE_ALONE):
        return
    worst = max(episodes, key=lambda rows: frozen[rows.episode].sum())
    marked = np.flatnonzero(frozen[worst.episode]) + 1
    change = camera.changes[worst.episode].mean
    yield Finding(
        kind="duplicated_frames",
        where=f"camera {name}",
        text=f"camera {name} repeats the frame before in {share:.0%} of the rows"
        f"{' in which the robot moves' if with_state else ''} (episode {worst.episode}: rows "
        f"{list_of(marked.tolist(), most=5)}): it is slower than the dataset's rate, or it froze",
        fix=_frozen_fix(name, frozen, share=share, fps=spec.fps),
        plot=Plot(
            x_label="row",
            y_label="change of the image",
            lines=(
                Line(label=name, x=np.arange(1, len(change) + 1), y=change),
                Line(label="repeated", x=marked, y=change[marked - 1], points=True),
            ),
        ),
    )


def _frozen_fix(
    name: str, frozen: dict[int, np.ndarray], *, share: float, fps: float
) -> tuple[str, ...]:
    """A slow camera: one row an image. A camera that froze: without the episodes where it did."""
    if share > REPEATED_OF_SLOW_CAMERA:
        every = round(1 / (1 - min(share, 0.95)))
        return (f"drop_duplicated_frames={name}:{every}", f"set_fps={fps / every:.6g}")
    return drop_episodes([n for n, found in frozen.items() if found.mean() > REPEATED_SHARE])


def _late(
    seen: Survey, spec: DatasetSpec, name: str, camera: CameraSurvey, *, ranges: np.ndarray
) -> Iterator[Finding]:
    """Images against the state: change of the picture against speed, over lags."""
    if not seen.state_names:
        return
    speeds, changes = [], []
    for rows in _looked_at(seen, camera):
        speeds.append(_logarithm(_visible_speed(rows, spec, ranges=ranges)))
        changes.append(_logarithm(camera.changes[rows.episode].mean))
    allowed = max(1, round(VIDEO_LAG_S * spec.fps))
    profile = lag_profile(speeds, changes, reach=max(4, math.ceil(0.6 * spec.fps)))
    if not profile.outside(-allowed, allowed):
        return
    rows_late = profile.peak
    yield Finding(
        kind="video_lag",
        where=f"camera {name}",
        text=f"camera {name} shows motion {abs(rows_late)} rows ({abs(rows_late) / spec.fps:.2f} s)"
        f" {'after' if rows_late > 0 else 'before'} the state does (correlation "
        f"{profile.at_peak:.2f} there, {profile.correlation[profile.lags == 0][0]:.2f} in the "
        "same row)",
        fix=(f"shift_video={name}:{rows_late}",),
        plot=Plot(
            x_label="rows from state to image",
            y_label="correlation",
            lines=(Line(label=name, x=profile.lags, y=profile.correlation),),
        ),
    )


def _orientation(
    seen: Survey, spec: DatasetSpec, name: str, camera: CameraSurvey
) -> Iterator[Finding]:
    """The upright direction: the flow of the moving pixels against the motion of the hand.

    Reported only for a camera that stands still, where z is up and the camera does not look up.
    """
    places = position_places(seen.state_names)
    episodes = _looked_at(seen, camera)
    if places is None or not episodes:
        return
    moving = np.concatenate([camera.changes[rows.episode].moving_share for rows in episodes])
    if moving.mean() > MOST_MOVING:
        return
    motion_m = np.concatenate([np.diff(rows.state[:, places], axis=0) for rows in episodes])
    flow = np.concatenate([camera.changes[rows.episode].flow for rows in episodes])
    axes = image_axes(flow, motion_m)
    if axes is None or axes.explained < MIN_EXPLAINED:
        return
    (turned,) = (one.turned_deg for one in spec.cameras if one.name == name)
    upside_down = axes.z_down * (-1 if turned else 1) > CLEARLY
    mirrored = axes.looks_up > CLEARLY
    if not upside_down and not mirrored:
        return
    line = Line(label="rows", x=motion_m[:, 2][:2000], y=-flow[:, 1][:2000], points=True)
    plot = Plot(x_label="hand rises (m a row)", y_label="picture rises (widths)", lines=(line,))
    evidence = (
        f"(the hand's motion explains {axes.explained:.0%} of the picture's; cosine of the "
        f"picture's downward axis and the robot's z {axes.z_down:+.2f})"
    )
    if mirrored:
        way = "vertical" if upside_down else "horizontal"
        yield Finding(
            kind="mirrored",
            where=f"camera {name}",
            text=f"camera {name} is mirrored: from its picture it would look up at the robot "
            f"from below {evidence}",
            fix=(f"flip_video={name}:{way}",),
            plot=plot,
        )
        return
    yield Finding(
        kind="upside_down",
        where=f"camera {name}",
        text=f"camera {name} is upside down: the picture sinks where the hand rises {evidence}",
        fix=(f"rotate_video={name}",),
        plot=plot,
    )
