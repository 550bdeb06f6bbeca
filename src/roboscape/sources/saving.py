"""Saving staged episodes in order, beside the processes that make them; nothing is lost."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.files import read_json, remove, write_json
from roboscape.core.settings import differences
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.sources.staging import load_staged, staged_path
from roboscape.sources.workers import new_counter


class OrderedSaver:
    """Appends staged episodes to a dataset in the order of their numbers, in a thread of its own.

    A group's staged files are removed only after the writer has closed, so that a crash while
    encoding costs time and no episode.
    """

    def __init__(
        self,
        root: Path,
        *,
        spec: DatasetSpec,
        numbers: list[int],
        folder: Path,
        group: int,
        before_save: Callable[[list[int]], None] = lambda _: None,
        complete: Callable[[Episode], Episode] = lambda episode: episode,
    ) -> None:
        self.first_unsaved = new_counter()
        """The first number that is neither saved nor given up, for the workers to see."""
        self._root = root
        self._spec = spec
        self._unsaved = list(numbers)
        self._folder = folder
        self._group = group
        self._before_save = before_save
        self._complete = complete
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._saving: tuple[list[int], Future[None]] | None = None
        self._at_work = Lock()
        self._ended = False
        self._forget(())

    def give_up(self, number: int) -> None:
        """Do not wait for a number that failed."""
        self._forget((number,))

    def save_when_enough(self) -> None:
        """Start saving once a full group is staged without a gap and nothing is being saved."""
        if self._saving is not None and not self._saving[1].done():
            return
        self._finish()
        group = self._unsaved[: self._group]
        if len(group) == self._group and self._all_staged(group):
            self._saving = (group, self._thread.submit(self._save, group))

    def save_all(self) -> None:
        """Save everything that is left, group by group."""
        self._finish()
        while self._unsaved:
            group = self._unsaved[: self._group]
            self._save(group)
            self._forget(group)

    def __enter__(self) -> "OrderedSaver":
        return self

    def __exit__(self, *_: object) -> None:
        """Let a running save end: the dataset is then valid whatever stopped the rest."""
        # A Ctrl-C while the pool starts its thread leaves a thread that the pool does not wait for.
        with self._at_work:
            self._ended = True
        self._thread.shutdown(wait=True)

    def _finish(self) -> None:
        """Account for the save that has ended, or raise what stopped it."""
        if self._saving is not None:
            group, saving = self._saving
            saving.result()
            self._saving = None
            self._forget(group)

    def _forget(self, numbers: list[int] | tuple[int, ...]) -> None:
        """Go on without these numbers, and let the workers go on too."""
        gone = set(numbers)
        self._unsaved = [number for number in self._unsaved if number not in gone]
        self.first_unsaved.value = self._unsaved[0] if self._unsaved else 2**62

    def _all_staged(self, numbers: list[int]) -> bool:
        return all(staged_path(self._folder, number).exists() for number in numbers)

    def _save(self, numbers: list[int]) -> None:
        """Append the episodes of these numbers, then remove what was staged of them."""
        with self._at_work:
            if self._ended:
                return
            self._before_save(numbers)
            with DatasetWriter(self._root, self._spec, episodes_per_file=self._group) as writer:
                for number in numbers:
                    writer.add(self._complete(load_staged(self._folder, number)))
            for number in numbers:
                remove(staged_path(self._folder, number))


def check_same_settings(
    path: Path, settings: dict[str, Any], *, verb: str, defaults: Mapping[str, Any] | None = None
) -> None:
    """Refuse to continue a dataset that was begun with other settings; write them if it is new.

    Args:
        path: Where the settings are written.
        settings: Those of now.
        verb: What was done with them, for the message.
        defaults: What settings were before there was a choice, by name: an earlier version that
            began the dataset did not write them.
    """
    if not path.exists():
        write_json(path, settings)
        return
    written = dict(defaults or {}) | read_json(path)
    before = {name: value for name, value in written.items() if name in settings}
    if different := differences(before, settings):
        raise UserError(
            f"{path.parent} was {verb} with other settings ({different}); choose another output "
            "folder, or ask for the same again"
        )


def tidy(folder: Path) -> None:
    """Remove half-written files of killed workers, and the folder if nothing waits there."""
    for path in folder.glob(".*"):
        remove(path)
    if not any(folder.iterdir()):
        folder.rmdir()
