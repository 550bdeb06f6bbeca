"""Write the README's results table from an evaluation's results.json, between its two markers.

python scripts/results_table.py runs/evaluate_lift README.md
"""

import re
import sys
from pathlib import Path

from roboscape.core.files import atomic_path
from roboscape.evaluate.headline import ENDS, headline_rows
from roboscape.evaluate.results import Results

MARKERS = re.compile(r"<!-- results -->.*<!-- /results -->", flags=re.DOTALL)


def table(results: Results) -> str:
    """Caption and table in Markdown."""
    setting = results.setting
    about = ", ".join(f"{name.lower()} {fact}" for name, fact in setting.facts.items())
    notes = f" {setting.commands}" if setting.commands else ""
    lines = [
        f"`roboscape evaluate --checkpoint {setting.checkpoint} --dataset {setting.dataset}`: "
        f"{setting.num_clips} {setting.split} episodes (seeds {setting.first_seed} to "
        f"{setting.last_seed}), {setting.horizon} frames predicted from one; {about}; "
        f"{setting.machine}.{notes} The still picture repeats the given frame; the ceiling is the "
        "true video through the tokenizer.",
        "",
        "| metric | still picture | **model** | tokenizer ceiling | aim |",
        "|---|---|---|---|---|",
    ]
    for row in headline_rows(results):
        floor, model, ceiling = (row.cells[end] for end in ENDS)
        lines.append(f"| {row.title} | {floor} | **{model}** | {ceiling} | {row.aim} |")
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the markers."""
    folder, page = (Path(argument) for argument in sys.argv[1:3])
    text = page.read_text()
    if len(MARKERS.findall(text)) != 1:
        sys.exit(f"{page} must hold `<!-- results --> … <!-- /results -->` once")
    block = f"<!-- results -->\n{table(Results.load(folder))}\n<!-- /results -->"
    with atomic_path(page) as temporary:
        temporary.write_text(MARKERS.sub(lambda _: block, text))


if __name__ == "__main__":
    main()
