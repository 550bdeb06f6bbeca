"""Episodes that could not be annotated, and why: `<kind>_<name>/failures.jsonl`."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import AnnotationKind, annotated_episodes

FILE = "failures.jsonl"
HOPELESS_AFTER = 20
"""A stage of which the first so many episodes fail, and none succeeds, is broken: it stops."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one episode as seen by one camera."""

    camera: str
    episode: int
    reason: str = ""
    """Why there is no annotation; empty where there is one."""
    attempts: int = 1
    """How often it was tried."""
    seconds: float = 0.0
    """How long the last attempt took."""


def failures_file(root: Path, *, kind: AnnotationKind, annotator: str) -> Path:
    """The file in which a stage's failures are written down."""
    return root / f"{kind}_{annotator}" / FILE


def record_failure(path: Path, outcome: Outcome) -> None:
    """Append a failure; a line is written at once, and a torn last line is left out on reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def read_failures(
    root: Path, *, kind: AnnotationKind, annotator: str, camera: str
) -> dict[int, str]:
    """Reason by episode for what failed and has not succeeded since."""
    path = failures_file(root, kind=kind, annotator=annotator)
    if not path.is_file():
        return {}
    done = annotated_episodes(root, kind=kind, annotator=annotator, camera=camera)
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    outcomes = [config_from_dict(Outcome, json.loads(line), where=str(path)) for line in lines]
    return {
        one.episode: one.reason
        for one in outcomes
        if one.camera == camera and one.episode not in done
    }


class Tally:
    """Counts outcomes and keeps the failures; raises where nothing works."""

    def __init__(self, path: Path, *, expected: int) -> None:
        self.done = 0
        self.failed: list[Outcome] = []
        self._path = path
        self._expected = expected

    def add(self, outcome: Outcome) -> None:
        """Count one outcome.

        Raises:
            ValueError: everything so far has failed, so that the fault is not an episode's.
        """
        if not outcome.reason:
            self.done += 1
            return
        self.failed.append(outcome)
        record_failure(self._path, outcome)
        if not self.done and len(self.failed) >= min(HOPELESS_AFTER, self._expected):
            raise UserError(
                f"none of the first {len(self.failed)} episodes could be annotated; the first "
                f"said: {self.failed[0].reason} (all reasons: {self._path})"
            )


def by_reason(outcomes: Iterable[Outcome]) -> str:
    """Failures in a line each, as a warning shows them."""
    lines = [f"  {one.camera} episode {one.episode}: {one.reason}" for one in outcomes]
    more = [f"  and {len(lines) - 10} more"] if len(lines) > 10 else []
    return "\n".join([*lines[:10], *more])
