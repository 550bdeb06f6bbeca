"""Notices of readers about single recordings, kept beside the imported dataset."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOTICES_FILE = "import_notices.jsonl"
"""One line a notice: the recording's key and what was said about it."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A notice to the user of a recording; it was read all the same."""

    key: str
    text: str


class Listener(logging.Handler):
    """Collects what is logged: by this program from `INFO` on, by others from `WARNING` on."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        if record.levelno >= logging.WARNING or record.name.startswith("roboscape."):
            self.texts.append(record.getMessage())


@contextmanager
def listening() -> Iterator[Listener]:
    """Collects what is logged in a worker process, which has no log of its own."""
    listener, ours = Listener(), logging.getLogger("roboscape")
    level = ours.level
    ours.setLevel(logging.INFO)
    logging.getLogger().addHandler(listener)
    try:
        yield listener
    finally:
        logging.getLogger().removeHandler(listener)
        ours.setLevel(level)


def note(root: Path, key: str, texts: list[str]) -> None:
    """Add what was said about a recording; processes may do so at once, a line each is whole."""
    lines = [json.dumps({"key": key, "text": text}) + "\n" for text in dict.fromkeys(texts)]
    if lines:
        root.mkdir(parents=True, exist_ok=True)
        with (root / NOTICES_FILE).open("a") as file:
            file.write("".join(lines))


def read_notices(root: Path) -> list[Notice]:
    """All that was said, each once."""
    path = root / NOTICES_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [Notice(**json.loads(line)) for line in dict.fromkeys(lines)]
