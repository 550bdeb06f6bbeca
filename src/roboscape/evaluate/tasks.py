"""Task metrics: does what matters in a scene happen in the predicted video when it does in truth?

A task metric reads one event off a video, the same way off true and predicted ones: a cube rises, a
drawer opens. Another task is another class with the members of `TaskMetric`.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.protocol import PredictorSpec
from roboscape.rollout.videos import Videos

SMALLEST_VIEW = 0.5
"""The share of the frames showing the true object that must show the predicted one as well, for the
video to count as evidence that nothing happened."""


@dataclass(frozen=True, kw_only=True)
class TaskName:
    """The name and the explanation of a task metric."""

    key: str
    title: str
    question: str
    """The heading of the report's section."""
    event: str
    """What happens or does not, e.g. `cube rises`."""
    item: str
    """The object that is followed, e.g. `cube`."""
    rule: tuple[str, ...]
    """How the event is read off a video, step by step."""
    aim: str = ""
    """The agreement that is aimed at."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome read off one video."""

    happened: bool
    """Whether the event was seen in any frame."""
    visible: Bool[np.ndarray, " t"]
    """In which frames the object is visible."""


@runtime_checkable
class TaskMetric(Protocol):
    """One event of one kind of scene."""

    @property
    def name(self) -> TaskName:
        """The metric's name and explanation."""
        ...

    def missing(self, clips: ClipSet, subject: PredictorSpec) -> str:
        """The reason why it cannot be measured here; empty where it can."""
        ...

    def read(self, truth: Videos, shown: Videos) -> list[Outcome]:
        """The outcome of every clip in `shown`, what the first camera that stands still shows; the
        true videos of the same clips, which may be the same ones, say where things are in the given
        frame."""
        ...

    def recorded(self, clips: ClipSet) -> Bool[np.ndarray, " b"] | None:
        """Tell whether the event happened in each clip, by the recording itself; None where it does
        not say."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskCounts:
    """Decided clips by what happens in the true and in the shown video.

    A clip whose shown video loses the object is `unseen`, whatever happens in truth. The five
    counts add up to all decided clips (once a seed).
    """

    in_both: int
    only_in_truth: int
    only_in_shown: int
    in_neither: int
    unseen: int
    agreement: float
    """Share of the decided clips where the event is in both or in neither; unseen ones are not."""
    visible: float
    """Of the frames after the given one that show the true object, the share that shows it here."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A task metric's findings for everything that is compared."""

    name: TaskName
    model: TaskCounts
    static: TaskCounts
    """Floor: a still picture agrees wherever nothing happens."""
    ceiling: TaskCounts | None
    """The true video through the tokenizer; None for a subject without tokens."""
    undecided: int
    """Clips left out: the rule and the recording disagree on the true video, or the object is never
    seen in it."""
    detector_agreement: float | None
    """The rule on the true video against what the recording says; None where it says nothing."""


def unseen(true: Outcome, shown: Outcome) -> bool:
    """True where a video lost the object, so that a missing event means nothing.

    The frame at index 0 was given and does not count.
    """
    expected = true.visible[1:]
    found = shown.visible[1:] & expected
    return bool(not shown.happened and found.sum() < SMALLEST_VIEW * expected.sum())


def count_outcomes(
    true: list[Outcome], shown: list[Outcome], *, decided: Bool[np.ndarray, " b"]
) -> TaskCounts:
    """Compare all clips.

    Args:
        true: of the recorded videos.
        shown: of the same clips, any number of seeds one after the other.
        decided: the clips that count.
    """
    pairs = list(zip(true * (len(shown) // len(true)), shown, strict=True))
    counted = np.tile(decided, len(shown) // len(true))
    truth = np.array([one.happened for one, _ in pairs])
    guess = np.array([other.happened for _, other in pairs])
    lost = np.array([unseen(one, other) for one, other in pairs])
    frames = sum(int(one.visible[1:].sum()) for one, _ in pairs)
    also = sum(int((one.visible & other.visible)[1:].sum()) for one, other in pairs)
    right = (truth == guess) & ~lost
    return TaskCounts(
        in_both=int((truth & guess & counted).sum()),
        only_in_truth=int((truth & ~guess & ~lost & counted).sum()),
        only_in_shown=int((~truth & guess & counted).sum()),
        in_neither=int((~truth & ~guess & ~lost & counted).sum()),
        unseen=int((lost & counted).sum()),
        agreement=float(right[counted].mean()) if counted.any() else 0.0,
        visible=also / frames if frames else 0.0,
    )


def decided_clips(
    true: list[Outcome], recorded: Bool[np.ndarray, " b"] | None
) -> Bool[np.ndarray, " b"]:
    """Clips whose outcome can be read off the true video."""
    happened = np.array([one.happened for one in true])
    seen = np.array([bool(one.visible[1:].any()) for one in true])
    return seen if recorded is None else seen & (happened == recorded)
