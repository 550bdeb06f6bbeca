"""Tables of benchmarks as Markdown, and the places in the documentation that they belong to."""

from collections.abc import Sequence
from pathlib import Path


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def fill(page: Path, name: str, content: str) -> None:
    """Write what was measured between the markers of a page.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no place for this: expected the lines {begin} and {end}")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{content.strip()}\n{end}{after}", encoding="utf-8")
