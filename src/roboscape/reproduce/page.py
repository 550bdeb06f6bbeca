"""A page of text, tables and plots: as Markdown beside its pictures, and as one HTML file."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{border-bottom:1px solid #ccc;padding:.25rem .6rem;text-align:left;white-space:nowrap}"
    "div{overflow-x:auto}img{max-width:100%}code{background:#eee;padding:0 .2rem}"
)


MEDIA = "media"
"""Folder of pictures beside the pages of `docs`."""


@dataclass(frozen=True)
class Heading:
    """A heading of the page's second level."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Code:
    """A command line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure and the name of its file, which pages put their own names before."""

    name: str
    caption: str
    figure: Figure


Block = Heading | Paragraph | Code | Table | Plot


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown; plots are pictures beside it."""
    return "\n\n".join(markdown_block(block) for block in blocks) + "\n"


def markdown_block(block: Block) -> str:
    """One part of the page as Markdown."""
    match block:
        case Heading():
            return f"## {block.text}"
        case Paragraph():
            return block.text
        case Code():
            return f"```bash\n{block.text}\n```"
        case Table():
            lines = [block.header, ("---",) * len(block.header), *block.rows]
            return "\n".join("| " + " | ".join(line) + " |" for line in lines)
        case Plot():
            return f"![{block.caption}]({block.name}.png)"


def html(title: str, blocks: Sequence[Block], *, folder: Path) -> str:
    """The page as one HTML file that holds its pictures, read from the folder."""
    body = "\n".join(html_block(block, folder=folder) for block in blocks)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )


def html_block(block: Block, *, folder: Path) -> str:
    """One part of the page as HTML."""
    match block:
        case Heading():
            return f"<h2>{escape(block.text)}</h2>"
        case Paragraph():
            return f"<p>{escape(block.text)}</p>"
        case Code():
            return f"<pre><code>{escape(block.text)}</code></pre>"
        case Table():
            head = "".join(f"<th>{escape(cell)}</th>" for cell in block.header)
            rows = "".join(
                "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
                for row in block.rows
            )
            return f"<div><table><tr>{head}</tr>{rows}</table></div>"
        case Plot():
            picture = b64encode((folder / f"{block.name}.png").read_bytes()).decode()
            return (
                f'<img alt="{escape(block.caption)}" src="data:image/png;base64,{picture}">'
                f"<p>{escape(block.caption)}</p>"
            )


def write_page(title: str, blocks: Sequence[Block], folder: Path, *, name: str) -> Path:
    """Write `NAME.md`, its pictures `NAME_PLOT.png`, and `NAME.html`; returns the latter's path."""
    blocks = with_plots_named(blocks, f"{name}_")
    save_plots(blocks, folder)
    with atomic_path(folder / f"{name}.md") as temporary:
        temporary.write_text(f"# {title}\n\n{markdown(blocks)}", encoding="utf-8")
    path = folder / f"{name}.html"
    with atomic_path(path) as temporary:
        temporary.write_text(html(title, blocks, folder=folder), encoding="utf-8")
    return path


def with_plots_named(blocks: Sequence[Block], prefix: str) -> list[Block]:
    """The same, with a prefix before the names of plots."""
    return [
        replace(block, name=f"{prefix}{block.name}") if isinstance(block, Plot) else block
        for block in blocks
    ]


def save_plots(blocks: Sequence[Block], folder: Path) -> None:
    """Write every plot as `NAME.png`."""
    for block in blocks:
        if isinstance(block, Plot):
            with atomic_path(folder / f"{block.name}.png") as temporary:
                block.figure.savefig(temporary, dpi=110, format="png")


def fill(page: Path, name: str, blocks: Sequence[Block]) -> None:
    """Write texts and tables between the markers of a Markdown page, plots into its `media` folder.

    Raises:
        UserError: the page has no such markers.
    """
    begin, end = f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if begin not in text or end not in text:
        raise UserError(f"{page} has no place for this: expected the lines {begin} and {end}")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    shown = with_plots_named(blocks, f"{MEDIA}/reproduce_{name.replace(' ', '_')}_")
    (page.parent / MEDIA).mkdir(exist_ok=True)
    save_plots(shown, page.parent)
    # One level lower: the page has headings of its own.
    content = markdown(shown).replace("## ", "### ")
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{content}\n{end}{after}", encoding="utf-8")
