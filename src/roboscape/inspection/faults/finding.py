"""A finding: what looks wrong, where, by which numbers, and the fix that repairs it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Shaped

FaultKind = Literal[
    "unreadable",
    "not_finite",
    "convention_unknown",
    "wrong_mode",
    "wrong_rate",
    "action_lag",
    "scale_mismatch",
    "gripper_inverted",
    "constant",
    "clipped",
    "spikes",
    "degrees",
    "quaternion_not_unit",
    "quaternion_sign",
    "idle",
    "duplicated_rows",
    "dropped_rows",
    "duplicated_frames",
    "video_lag",
    "upside_down",
    "mirrored",
    "empty_frames",
    "depth_clipped",
    "short_episode",
    "repeated_episode",
    "outcomes_alike",
    "no_episodes",
]

_DROP = "drop_episodes="


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve, or one cloud of points, of a plot."""

    label: str
    x: Shaped[np.ndarray, " n"]
    y: Shaped[np.ndarray, " n"]
    points: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The picture that shows a finding."""

    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A possible fault: its kind, place, evidence and fix."""

    kind: FaultKind
    where: str
    """What it is about, e.g. `action eef_x`, `camera wrist`, `episodes 3, 5`."""
    text: str
    """One sentence with the numbers and what to do."""
    fix: tuple[str, ...] = ()
    """What to give to `roboscape repair` as `--fix`; empty where only a person can repair it."""
    plot: Plot | None = None

    def __str__(self) -> str:
        """The sentence."""
        return self.text


def list_of(numbers: list[int], *, most: int = 8) -> str:
    """Episode numbers for a sentence, cut short."""
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"


def counted(numbers: list[int]) -> str:
    """The number of episodes, in words."""
    return f"{len(numbers)} episode{'' if len(numbers) == 1 else 's'}"


def drop_episodes(numbers: list[int]) -> tuple[str, ...]:
    """The fix that leaves episodes out."""
    return (_DROP + ",".join(str(number) for number in sorted(numbers)),)


def merged(found: Iterable[Finding]) -> tuple[str, ...]:
    """The fixes of several findings, each once, and all episodes to be left out in one."""
    fixes = list(dict.fromkeys(fix for one in found for fix in one.fix))
    dropping = [fix for fix in fixes if fix.startswith(_DROP)]
    numbers = {int(text) for fix in dropping for text in fix.removeprefix(_DROP).split(",")}
    together = drop_episodes(list(numbers)) if numbers else ()
    return (*together, *(fix for fix in fixes if fix not in dropping))
