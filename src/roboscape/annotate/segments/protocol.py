"""Action semantics: an episode as a row of segments, each one action (RoboScape, section 2.2)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from roboscape.annotate.backends import Annotator, Backend
from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import read_values
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of an episode that holds one action."""

    first: int
    """First row."""
    end: int
    """Row after the last."""
    skill: str
    """What happens, in words."""
    key_row: int
    """The row that shows the action best: where the gripper acts, or where the hand arrives."""
    relevant_first: int
    """First row with an explicit relation to the key row; rows before it only wait."""
    relevant_end: int
    """Row after the last with an explicit relation to the key row."""
    confidence: float
    """How sure the annotator is of the segment's borders, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class RecordedMotion:
    """The recorded motion of a robot, with the words of its task."""

    actions: Float[np.ndarray, "t a"]
    state: Float[np.ndarray, "t s"]
    state_names: tuple[str, ...]
    convention: ActionConvention
    fps: float
    task: str


@runtime_checkable
class Segmenter(Annotator, Protocol):
    """Slices an episode by action semantics."""

    def annotate(
        self, frames: UInt8[np.ndarray, "t h w 3"] | None, *, motion: RecordedMotion
    ) -> tuple[Segment, ...]:
        """Segments that cover the episode in order; `frames` is None for who needs none."""
        ...


def recorded_motion(dataset: LeRobotDataset, episode: int) -> RecordedMotion:
    """The recorded motion of the robot in one episode."""
    return RecordedMotion(
        actions=dataset.actions(episode),
        state=dataset.state(episode),
        state_names=dataset.spec.state_names,
        convention=dataset.spec.action,
        fps=dataset.spec.fps,
        task=dataset.episode_info(episode).task,
    )


def check_segments(segments: tuple[Segment, ...], *, rows: int) -> None:
    """Make sure that segments cover an episode in order, each with its key row inside.

    Raises:
        ValueError: a gap, an overlap, or a row that is not there.
    """
    borders = [0, *(one.end for one in segments)]
    starts = [*(one.first for one in segments), rows]
    if not segments or borders != starts:
        raise UserError(f"segments must cover rows 0 to {rows} in order; got {segments}")
    for one in segments:
        if not one.first <= one.key_row < one.end:
            raise UserError(f"the key row must lie in its segment; got {one}")
        if not one.first <= one.relevant_first < one.relevant_end <= one.end:
            raise UserError(f"the relevant rows must lie in their segment; got {one}")


def as_values(segments: tuple[Segment, ...]) -> dict[str, Any]:
    """Segments as they are kept on disk."""
    return {"segments": [asdict(one) for one in segments]}


def read_segments(root: Path, *, annotator: str, camera: str, episode: int) -> tuple[Segment, ...]:
    """The segments of one episode."""
    values = read_values(root, kind="segments", annotator=annotator, camera=camera, episode=episode)
    return tuple(
        config_from_dict(Segment, one, where=f"segments of episode {episode} by {annotator}")
        for one in values["segments"]
    )


SEGMENTERS: dict[str, Backend[Segmenter]] = {
    "kinematic": Backend(
        module="roboscape.annotate.segments.kinematic",
        kind="KinematicSegmenter",
        summary="Gripper events and speed minima, labelled from the task text: runs anywhere.",
    ),
    "internvl": Backend(
        module="roboscape.annotate.segments.internvl",
        kind="InternVLSegmenter",
        summary="InternVL 3 through transformers, the paper's.",
        gpu=True,
        pretrained=True,
    ),
    "server": Backend(
        module="roboscape.annotate.segments.server",
        kind="ServerSegmenter",
        summary="Any vision-language model behind an OpenAI-compatible server (vLLM, ...).",
    ),
}
"""Everything that can slice by action semantics, by name."""

NUMBERS_ALONE = ("kinematic",)
"""Segmenters that look at no image."""
