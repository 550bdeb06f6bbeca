"""The clips to show: the best, the median, the worst, and a task metric's failures."""

from dataclasses import dataclass

import numpy as np

from roboscape.evaluate.measure import Measurement
from roboscape.evaluate.results import ClipOutcome, ClipRecord
from roboscape.evaluate.tasks import TaskMetric
from roboscape.rollout.videos import Videos


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip to look at."""

    label: str
    """Why it is shown, e.g. `worst`."""
    is_failure: bool
    """Whether it is shown as a failure."""
    record: ClipRecord
    truth: Videos
    """A batch of one."""
    imagined: Videos
    """A batch of one."""
    views: int = 1
    """Cameras whose images lie below each other in a frame."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A clip's number and why it is shown."""

    clip: int
    label: str
    is_failure: bool = False


def choose_examples(
    records: tuple[ClipRecord, ...], tasks: tuple[TaskMetric, ...], *, each: int
) -> list[Choice]:
    """`each` clips of every kind, no clip twice; where there are failures, some are shown."""
    by_psnr = [int(clip) for clip in np.argsort([r.psnr_db for r in records], kind="stable")]
    middle = max(0, (len(records) - each) // 2)
    kinds: list[tuple[str, bool, list[int]]] = [("worst PSNR", True, by_psnr)]
    for task in tasks:
        event, outcomes = task.name.event, [record.tasks[task.name.key] for record in records]
        for label, truth, predicted in (
            (f"{event} in the prediction only", False, True),
            (f"{event} in truth only", True, False),
            (f"{task.name.item} lost in the prediction", None, None),
        ):
            wanted = ClipOutcome(truth=truth, predicted=predicted)
            kinds.append((label, True, [i for i in by_psnr if is_kind(outcomes[i], wanted)]))
    kinds += [("best PSNR", False, by_psnr[::-1]), ("median PSNR", False, by_psnr[middle:])]
    for task in tasks:
        both = ClipOutcome(truth=True, predicted=True)
        right = [i for i in by_psnr[::-1] if records[i].tasks[task.name.key] == both]
        half = len(right) // 2
        kinds.append((f"{task.name.event} in both", False, right[half:] + right[:half]))
    chosen: dict[int, Choice] = {}
    for label, is_failure, order in kinds:
        fresh = [clip for clip in order if clip not in chosen]
        for clip in fresh[:each]:
            chosen[clip] = Choice(clip=clip, label=label, is_failure=is_failure)
    return sorted(chosen.values(), key=lambda choice: choice.is_failure)


def is_kind(found: ClipOutcome, wanted: ClipOutcome) -> bool:
    """True if a clip came out so; where the object is lost, any outcome in truth will do."""
    if wanted.predicted is None:
        return found.predicted is None and found.truth is not None
    return found == wanted


def make_examples(
    measurement: Measurement, choices: list[Choice], records: tuple[ClipRecord, ...]
) -> tuple[Example, ...]:
    """Read the chosen clips again, one at a time."""
    return tuple(
        Example(
            label=choice.label,
            is_failure=choice.is_failure,
            record=records[choice.clip],
            truth=measurement.clips.videos([choice.clip]),
            imagined=measurement.kept.clip(choice.clip),
            views=len(measurement.clips.cameras),
        )
        for choice in choices
    )
