"""The annotations of an episode, by which its clips are filtered."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from roboscape.annotate.flow.motion import FlowMotion, read_flow_motion
from roboscape.annotate.segments.key_frames import relevant_share
from roboscape.annotate.segments.kinematic import gripper_command, is_closed
from roboscape.annotate.segments.protocol import Segment, read_segments
from roboscape.annotate.tracks.camera_motion import estimate_camera_motion, own_motion
from roboscape.dataset.annotations import read_tracks, read_values
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks


@dataclass(frozen=True, kw_only=True)
class Action:
    """The action that most of a clip belongs to."""

    skill: str
    share: float
    """Share of the clip's rows that belong to it."""
    key_frame: int
    """The clip's frame nearest to its key row."""
    relevance: float
    """Share of the clip's rows that relate to the key row of the action that they belong to."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The annotations of one episode."""

    tracks: Tracks
    closed: Bool[np.ndarray, " t"]
    """Whether the gripper is commanded to be closed."""
    segments: tuple[Segment, ...]
    """Empty without an annotator of segments."""
    cuts: tuple[int, ...]
    """First rows of all shots but the first."""
    flow: FlowMotion | None
    """Motion by optical flow, a value a row; None without an annotator of it."""
    camera_step_px: Float[np.ndarray, " t"]
    """How far the background moved from the row before, estimated from the tracks."""

    def gripper_events(self, rows: range) -> int:
        """Number of commands to close or to open the gripper between the first and last row."""
        return int(np.diff(self.closed[rows[0] : rows[-1] + 1]).sum())

    def action(self, rows: range) -> Action | None:
        """The action that most of some rows belong to, the first of several; None without one."""
        if not self.segments:
            return None
        count = Counter(
            number
            for row in rows
            for number, one in enumerate(self.segments)
            if one.first <= row < one.end
        )
        number, most = count.most_common(1)[0]
        action = self.segments[number]
        relevant = [(one.relevant_first, one.relevant_end) for one in self.segments]
        return Action(
            skill=action.skill,
            share=most / len(rows),
            key_frame=int(np.abs(np.array(rows) - action.key_row).argmin()),
            relevance=relevant_share(relevant, rows=rows),
        )


@dataclass(frozen=True, kw_only=True)
class Annotators:
    """The annotator of each kind; empty for none."""

    tracks: str
    segments: str = ""
    cuts: str = ""
    motion: str = ""


def gather(
    dataset: LeRobotDataset,
    episode: int,
    *,
    root: Path,
    camera: str,
    by: Annotators,
    without_camera: bool = True,
) -> Evidence:
    """Read the annotations of one episode by these annotators.

    Where the camera moves, the tracks are those that a resting camera would see, if asked for.

    Raises:
        ValueError: one of them has not annotated it yet.
    """
    shots = (
        read_values(root, kind="cuts", annotator=by.cuts, camera=camera, episode=episode)["rows"]
        if by.cuts
        else ()
    )
    convention = dataset.spec.action
    seen = read_tracks(root, annotator=by.tracks, camera=camera, episode=episode)
    moved = estimate_camera_motion(seen)
    return Evidence(
        tracks=own_motion(seen, moved) if without_camera else seen,
        camera_step_px=moved.step_px,
        flow=read_flow_motion(root, annotator=by.motion, camera=camera, episode=episode)
        if by.motion
        else None,
        closed=is_closed(gripper_command(dataset.actions(episode), convention), convention),
        segments=read_segments(root, annotator=by.segments, camera=camera, episode=episode)
        if by.segments
        else (),
        cuts=tuple(shots),
    )
