"""Which clips are shown: the best, the middling, the worst, and where the cube test failed."""

from dataclasses import dataclass

import numpy as np

from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.results import ClipRecord
from roboscape.rollout.videos import VideoCodes, Videos, decode_videos


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


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A clip's number and why it is shown."""

    clip: int
    label: str
    is_failure: bool = False


def choose_examples(records: tuple[ClipRecord, ...], *, each: int) -> list[Choice]:
    """`each` clips of every kind, no clip twice; where there are failures, some are shown."""
    by_psnr = np.argsort([record.psnr_db for record in records], kind="stable")
    middle = max(0, (len(records) - each) // 2)
    right = [r.cube_rose is not None and r.cube_rose == r.cube_rose_imagined for r in records]
    lifted = [i for i in by_psnr[::-1] if right[i] and records[i].cube_rose]
    invented = [i for i in by_psnr if not right[i] and records[i].cube_rose is False]
    missed = [i for i in by_psnr if not right[i] and records[i].cube_rose]
    half = len(lifted) // 2
    kinds = (
        ("worst PSNR", True, by_psnr),
        ("cube lifted in imagination only", True, invented),
        ("cube lifted in truth only", True, missed),
        ("best PSNR", False, by_psnr[::-1]),
        ("median PSNR", False, by_psnr[middle:]),
        ("cube lifted in both", False, lifted[half:] + lifted[:half]),
    )
    chosen: dict[int, Choice] = {}
    for label, is_failure, order in kinds:
        fresh = [int(clip) for clip in order if int(clip) not in chosen]
        for clip in fresh[:each]:
            chosen[clip] = Choice(clip=clip, label=label, is_failure=is_failure)
    return sorted(chosen.values(), key=lambda choice: choice.is_failure)


def make_examples(
    clips: ClipSet, *, choices: list[Choice], codes: VideoCodes, records: tuple[ClipRecord, ...]
) -> tuple[Example, ...]:
    """Read and decode the chosen clips again, one at a time."""
    examples = []
    for choice in choices:
        one = [choice.clip]
        examples.append(
            Example(
                label=choice.label,
                is_failure=choice.is_failure,
                record=records[choice.clip],
                truth=clips.videos(one),
                imagined=decode_videos(clips.bundle.tokenizer, codes.map(lambda c, i=one: c[i])),
            )
        )
    return tuple(examples)
