"""The clip filters: whether a clip is kept, the reason if not, and the figures behind it."""

from dataclasses import dataclass, replace

from roboscape.annotate.categories import Challenge, difficulties
from roboscape.clips.evidence import Evidence
from roboscape.clips.motion import measure_motion


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Thresholds of the clip filters (RoboScape, section 2.2, clip filtering)."""

    min_path_px: float = 4.0
    """Clips whose active points travel less are left out as still."""
    max_disorder: float = 0.6
    """Clips whose active points turn more are left out as disordered; 0.5 is a random walk."""
    min_flow_px: float = 4.0
    """Clips whose fastest pixels travel less are left out as still; needs `motion`."""
    max_unexplained: float = 0.7
    """Clips of whose change flow explains less than the rest of it are left out as disordered;
    needs `motion`."""
    max_turning: float = 0.4
    """Clips whose moving pixels turn more are left out as disordered; needs `motion`."""
    max_camera_px: float = float("inf")
    """Clips in which the camera moves the background farther are left out."""
    min_skill_share: float = 0.0
    """Clips of which less belongs to one action are left out as mixed; 1 is the paper's."""
    min_relevance: float = 0.5
    """Clips of which less relates to a key frame are left out as irrelevant; needs `segments`."""


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """A clip, as a row of the index."""

    episode: int
    camera: str
    start: int
    """First row of the clip in its episode."""
    stride: int
    length: int
    split: str
    skill: str
    """The action that most of the clip belongs to; the task's own words without segments."""
    skill_share: float
    """Share of the clip's rows that belong to that action; 1 without segments."""
    difficulty: str
    """`easy`, `medium`, `hard`; empty for a clip that is left out."""
    scene: str
    """Where it was recorded, as far as the dataset records it, and its group by looks."""
    motion_px: float
    """Mean path of the active points."""
    disorder: float
    """0 straight on, 0.5 a random walk, 1 back and forth."""
    flow_px: float
    """How far its fastest pixels travel; 0 without flow."""
    unexplained: float
    """Share of the picture's change that flow does not explain; 0 without flow."""
    turning: float
    """How far its moving pixels turn from row to row: 0 straight on, 0.5 any way, 1 back."""
    camera_px: float
    """How far the background travels with the camera."""
    hidden: float
    """Share of the points seen in its first row that cannot be seen later, on average."""
    gripper_events: int
    """Number of commands to close or to open the gripper."""
    key_frame: int
    """The clip's frame nearest its action's key row; else the one points moved farthest into."""
    relevance: float
    """Share of the rows that relate to an action's key row; 1 without segments."""
    keep: bool
    reason: str
    """Why the clip is left out; empty for one that is kept."""


def filter_clip(blank: ClipRow, found: Evidence, *, seen: range, limits: Limits) -> ClipRow:
    """One clip with its measured figures, whether it is kept, and the reason if not."""
    rows = slice(seen.start, seen.stop, seen.step)
    visible = found.tracks.visible[rows]
    # Of tracks that begin all along an episode a clip has its own.
    seen_at_all, at_first = visible.any(axis=0), visible[0]
    motion = measure_motion(found.tracks.xy_px[rows][:, seen_at_all], visible[:, seen_at_all])
    action = found.action(seen)
    between = slice(seen[0] + 1, seen[-1] + 1)
    measured = replace(
        blank,
        skill=action.skill if action else blank.skill,
        skill_share=action.share if action else 1.0,
        motion_px=motion.path_px,
        disorder=motion.disorder,
        flow_px=float(found.flow.speed_px[between].sum()) if found.flow else 0.0,
        unexplained=float(found.flow.disorder[between].mean()) if found.flow else 0.0,
        turning=float(found.flow.turning[between].mean()) if found.flow else 0.0,
        camera_px=float(found.camera_step_px[between].sum()),
        hidden=float(1 - visible[:, at_first].mean()) if at_first.any() else 1.0,
        gripper_events=found.gripper_events(seen),
        key_frame=action.key_frame if action else motion.key_frame,
        relevance=action.relevance if action else 1.0,
    )
    reason = reason_against(measured, found, seen=seen, limits=limits)
    return replace(measured, keep=not reason, reason=reason)


def reason_against(clip: ClipRow, found: Evidence, *, seen: range, limits: Limits) -> str:
    """The first reason to leave a clip out; empty where it should be kept."""
    cuts = [row for row in found.cuts if seen[0] < row <= seen[-1]]
    has_flow = found.flow is not None
    share = f"{clip.skill_share:.2f} < {limits.min_skill_share:g}"
    related = f"{clip.relevance:.2f} < {limits.min_relevance:g}"
    unexplained = f"{clip.unexplained:.2f} > {limits.max_unexplained:g}"
    tests = (
        (bool(cuts), f"cut: another shot begins at row {cuts[0] if cuts else 0}"),
        (
            clip.camera_px > limits.max_camera_px,
            f"camera: it moves {clip.camera_px:.0f} px > {limits.max_camera_px:g} px",
        ),
        (
            clip.motion_px < limits.min_path_px,
            f"still: {clip.motion_px:.1f} px < {limits.min_path_px:g} px",
        ),
        (
            has_flow and clip.flow_px < limits.min_flow_px,
            f"still: flow of {clip.flow_px:.1f} px < {limits.min_flow_px:g} px",
        ),
        (
            clip.disorder > limits.max_disorder,
            f"disordered: {clip.disorder:.2f} > {limits.max_disorder:g}",
        ),
        (
            has_flow and clip.unexplained > limits.max_unexplained,
            f"disordered: flow leaves {unexplained} of the change",
        ),
        (
            has_flow and clip.turning > limits.max_turning,
            f"disordered: flow turns {clip.turning:.2f} > {limits.max_turning:g}",
        ),
        (clip.skill_share < limits.min_skill_share, f"mixed: {share} of one action"),
        (clip.relevance < limits.min_relevance, f"irrelevant: {related} relate to a key"),
    )
    return next((reason for applies, reason in tests if applies), "")


def grade(rows: list[ClipRow]) -> list[ClipRow]:
    """The clips with the difficulty of those that are kept: thirds by what makes a clip hard."""
    graded = iter(
        difficulties(
            [
                Challenge(
                    motion_px=row.motion_px,
                    disorder=row.disorder,
                    hidden=row.hidden,
                    gripper_events=row.gripper_events,
                )
                for row in rows
                if row.keep
            ]
        )
    )
    return [replace(row, difficulty=next(graded)) if row.keep else row for row in rows]
