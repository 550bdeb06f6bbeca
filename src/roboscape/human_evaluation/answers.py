"""Answers of people, one a line of a file."""

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError

ANSWERS = "answers.jsonl"
CHOICES = ("yes", "no", "unclear")
REAL = ("left", "right", "unclear")
LEVELS = range(1, 6)
"""How plausible a video is."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One person's answers about one trial."""

    trial: str
    rater: str
    """A random name that a browser keeps; nothing about the person."""
    left_success: str
    """Whether the robot solves the task there: yes, no, unclear."""
    right_success: str
    left_plausibility: int
    """From 1, impossible, to 5, like a recording."""
    right_plausibility: int
    recorded: str
    """Which of the two is taken for the recording: left, right, unclear."""

    def __post_init__(self) -> None:
        """Refuse what the page would not send."""
        success = (self.left_success, self.right_success)
        levels = (self.left_plausibility, self.right_plausibility)
        rater_fits = 8 <= len(self.rater) <= 64 and self.rater.isalnum()
        if not (
            rater_fits
            and all(one in CHOICES for one in success)
            and all(one in LEVELS for one in levels)
            and self.recorded in REAL
        ):
            raise UserError(
                f"expected a rater's name of 8 to 64 letters and digits, success {CHOICES}, "
                f"plausibility 1 to 5 and recorded {REAL}, got {asdict(self)}"
            )


def answer_of(content: Any, *, trials: set[str]) -> Answer:
    """An answer from a page's message.

    Raises:
        ValueError: other fields, values or trials than there are.
    """
    if not isinstance(content, dict):
        raise UserError(f"expected an answer's fields, got {type(content).__name__}")
    answer = config_from_dict(Answer, content, where="the answer")
    if answer.trial not in trials:
        raise UserError(f"there is no trial {answer.trial!r}")
    return answer


class AnswerFile:
    """The answers of an evaluation; each is on disk before its person reads thanks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ANSWERS
        self._lock = threading.Lock()
        if self.path.is_file():
            # A machine that stopped while writing leaves a part of a line.
            whole = self.path.read_bytes().rpartition(b"\n")
            os.truncate(self.path, len(whole[0]) + len(whole[1]))

    def add(self, answer: Answer) -> None:
        """Append one."""
        line = json.dumps(asdict(answer)) + "\n"
        with self._lock, self.path.open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Answer]:
        """The last answer of each person to each trial, in the order of first answers.

        Raises:
            ValueError: a whole line that is no answer.
        """
        if not self.path.is_file():
            return []
        found: dict[tuple[str, str], Answer] = {}
        for number, line in enumerate(self.path.read_text().splitlines(), start=1):
            try:
                content = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{self.path}:{number} is not JSON ({error})") from error
            answer = config_from_dict(Answer, content, where=f"{self.path}:{number}")
            found[answer.trial, answer.rater] = answer
        return list(found.values())
