"""Action semantics from the robot's own motion: gripper events and speed minima, no image."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.annotate.segments.key_frames import arrival_row, gripper_key_row, relevant_rows
from roboscape.annotate.segments.protocol import RecordedMotion, Segment
from roboscape.annotate.segments.words import holding_skill, motion_skill
from roboscape.dataset.records import ActionConvention

IDLE_SHARE = 0.1
"""A hand slower than this share of its cruising speed waits."""


@dataclass(frozen=True, kw_only=True)
class Kinematics:
    """The signals that the segmenter reads."""

    speed: Float[np.ndarray, " t"]
    """Of the hand, as a share of its cruising speed (90th percentile)."""
    closed: Bool[np.ndarray, " t"]
    """Whether the gripper is commanded to be closed; never where there is no gripper."""
    opening: Float[np.ndarray, " t"]
    """How far the gripper is open, unit of the recording; the command where nothing measures it."""


@dataclass(frozen=True, kw_only=True)
class KinematicSegmenter:
    """Borders at gripper events, at the end of the pause after one, and at pronounced speed minima.

    Labels come from the task text and the gripper: before it closes the hand reaches for the
    task's object, while it is closed the task itself happens.
    """

    smallest_s: float = 0.2
    """Shortest segment, seconds."""
    dip: float = 0.85
    """A minimum is a border where the speed falls below this share of the lower peak beside it."""
    smoothing_s: float = 0.1
    """Standard deviation of the Gaussian that smooths the velocity, seconds."""

    @property
    def name(self) -> str:
        """Name of the annotation folder: `segments_kinematic`."""
        return "kinematic"

    @property
    def version(self) -> str:
        """Version of the rules."""
        return "1"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return asdict(self)

    def annotate(
        self, frames: UInt8[np.ndarray, "t h w 3"] | None, *, motion: RecordedMotion
    ) -> tuple[Segment, ...]:
        """Segments that cover the episode in order; looks at no frame."""
        del frames
        seen = kinematics(motion, smoothing_s=self.smoothing_s)
        borders = self.borders(seen, fps=motion.fps)
        firsts = [0, *borders]
        ends = [*borders, len(seen.speed)]
        return tuple(
            describe(seen, motion, first=first, end=end, confidence=min(here, there))
            for first, end, here, there in zip(
                firsts, ends, [1.0, *borders.values()], [*borders.values(), 1.0], strict=True
            )
        )

    def borders(self, seen: Kinematics, *, fps: float) -> dict[int, float]:
        """First rows of all segments but the first, ascending, with their confidence.

        A gripper event is certain; the end of the pause after it and a speed minimum are as sure as
        the minimum is deep. Of two that are too near each other the surer one stays.
        """
        events = np.flatnonzero(np.diff(seen.closed)) + 1
        found = {int(row): 1.0 for row in events}
        for low, row, depth in speed_minima(seen.speed, dip=self.dip):
            # A pause that holds a gripper event belongs to it: only its end is a border.
            found.setdefault(row, 0.99 * depth)
            del low
        smallest = max(1, round(self.smallest_s * fps))
        kept: dict[int, float] = {}
        for row, confidence in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
            others = [0, len(seen.speed), *kept]
            if all(abs(row - other) >= smallest for other in others):
                kept[row] = confidence
        return dict(sorted(kept.items()))


def kinematics(motion: RecordedMotion, *, smoothing_s: float) -> Kinematics:
    """Speed and gripper of an episode, from whatever the recording has of them."""
    velocity = hand_velocity(motion)
    width = smoothing_s * motion.fps
    # The velocity is smoothed, not its size, so that a turn shows as a minimum too.
    speed = np.linalg.norm([smooth(column, width=width) for column in velocity.T], axis=0)
    cruising = float(np.quantile(speed, 0.9))
    command = gripper_command(motion.actions, motion.convention)
    fingers = [
        index
        for index, name in enumerate(motion.state_names)
        if re.search(r"gripper|finger", name) and not re.search(r"command|target", name)
    ]
    opening = np.abs(motion.state[:, fingers]).sum(axis=1) if fingers else -command
    return Kinematics(
        speed=speed / cruising if cruising > 0 else speed,
        closed=is_closed(command, motion.convention),
        opening=opening,
    )


def hand_velocity(motion: RecordedMotion) -> Float[np.ndarray, "t c"]:
    """Velocity of the hand (of all hands, side by side) per second: measured, else commanded."""
    position = position_dimensions(motion.state_names)
    if position:
        return moved(motion.state[:, position]) * motion.fps
    names = motion.convention.names
    chosen = position_dimensions(names) or [
        index for index, name in enumerate(names) if "gripper" not in name
    ]
    actions = motion.actions[:, chosen] * np.array(motion.convention.scale)[chosen]
    steps = actions if motion.convention.mode == "delta" else moved(actions)
    return steps * motion.fps


def moved(position: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t c"]:
    """Motion from every row to the next; the last row repeats the one before."""
    if len(position) < 2:
        return np.zeros_like(position)
    steps = np.diff(position, axis=0)
    return np.concatenate([steps, steps[-1:]])


def position_dimensions(names: tuple[str, ...]) -> list[int]:
    """Dimensions that hold the position of a hand: `<hand>_x`, `<hand>_y` and `<hand>_z`."""
    places = {name: index for index, name in enumerate(names)}
    hands = [name[:-2] for name in names if re.fullmatch(r"\w*(eef|hand|tool|ee|tcp)_x", name)]
    return [
        places[f"{hand}_{axis}"] for hand in hands for axis in "xyz" if f"{hand}_{axis}" in places
    ]


def gripper_command(
    actions: Float[np.ndarray, "t a"], convention: ActionConvention
) -> Float[np.ndarray, " t"]:
    """The command of the gripper (of all grippers together); zeros where there is none."""
    grippers = [index for index, name in enumerate(convention.names) if "gripper" in name]
    return actions[:, grippers].sum(axis=1) if grippers else np.zeros(len(actions))


def is_closed(
    command: Float[np.ndarray, " t"], convention: ActionConvention
) -> Bool[np.ndarray, " t"]:
    """True where the gripper is commanded to be closed: nearer to that of the two commands."""
    said = {
        word: float(value)
        for value, word in re.findall(r"([+-]?\d+(?:\.\d+)?) (opens|closes)", convention.gripper)
    }
    if len(said) == 2:
        sign = np.sign(said["closes"] - said["opens"])
        return sign * (command - (said["closes"] + said["opens"]) / 2) > 0
    middle = (command.max() + command.min()) / 2
    return command > middle if np.ptp(command) > 0 else np.zeros(len(command), bool)


def smooth(values: Float[np.ndarray, " t"], *, width: float) -> Float[np.ndarray, " t"]:
    """Gaussian smoothing, `width` rows of standard deviation, edges repeated."""
    reach = int(np.ceil(3 * width))
    if not reach:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def speed_minima(speed: Float[np.ndarray, " t"], *, dip: float) -> list[tuple[int, int, float]]:
    """Pronounced minima: the lowest row, the row where motion sets in again, and the depth.

    The depth is 1 where the hand stands still and 0 where it is as fast as at the lower of the two
    peaks beside; minima shallower than 1 - `dip` are left out.
    """
    found: list[tuple[int, int, float]] = []
    peak, low, rows = 0, 0, len(speed)
    for row in range(1, rows):
        if speed[row] > speed[peak] and low <= peak:
            peak = low = row
        elif speed[row] < speed[low]:
            low = row
        elif low > peak and speed[low] < dip * min(speed[peak], speed[row]):
            last = row
            while last + 1 < rows and speed[last + 1] >= speed[last]:
                last += 1
            ridge = min(speed[peak], speed[last])
            if ridge > IDLE_SHARE:
                found.append((low, onset(speed, low=low, peak=last), 1 - speed[low] / ridge))
                peak = low = last
        elif low > peak and speed[row] > speed[peak]:
            peak = low = row
    return found


def onset(speed: Float[np.ndarray, " t"], *, low: int, peak: int) -> int:
    """The row after a minimum in which a quarter of the way back up to the peak is made."""
    height = speed[low] + 0.25 * (speed[peak] - speed[low])
    return low + int(np.argmax(speed[low : peak + 1] > height))


def describe(
    seen: Kinematics, motion: RecordedMotion, *, first: int, end: int, confidence: float
) -> Segment:
    """One segment with its label, key row and relevant rows."""
    changes = np.flatnonzero(np.diff(seen.closed)) + 1
    acts = bool(np.isin(first, changes))
    key = (
        gripper_key_row(seen.opening, first=first, end=end)
        if acts
        else arrival_row(seen.speed, first=first, end=end)
    )
    turning = np.abs(moved(seen.opening[:, None])[:, 0])
    busy = (seen.speed > IDLE_SHARE) | (turning > IDLE_SHARE * max(float(turning.max()), 1e-9))
    relevant_first, relevant_end = relevant_rows(busy, first=first, end=end, key=key)
    closed = bool(seen.closed[first])
    skill = (
        holding_skill(motion.task, closes=closed)
        if acts
        else motion_skill(
            motion.task,
            closed=closed,
            holds=holds_something(seen, row=first),
            closes_later=bool(seen.closed[first:].any()),
            closed_before=bool(seen.closed[:first].any()),
        )
    )
    return Segment(
        first=first,
        end=end,
        skill=skill,
        key_row=key,
        relevant_first=relevant_first,
        relevant_end=relevant_end,
        confidence=round(float(confidence), 3),
    )


def holds_something(seen: Kinematics, *, row: int) -> bool:
    """True if an object keeps a closed gripper open, by a tenth of its widest or more."""
    widest = float(np.abs(seen.opening).max())
    return bool(seen.opening[row] > 0.1 * widest) if np.any(seen.opening > 0) else True
