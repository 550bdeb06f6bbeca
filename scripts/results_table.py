"""Write the README's results table from an evaluation's results.json, between its two markers.

python scripts/results_table.py runs/evaluate_lift README.md
"""

import re
import sys
from pathlib import Path

from roboscape.core.files import atomic_path
from roboscape.evaluate.results import Results
from roboscape.pipelines.pipeline import score

ROWS = (
    ("psnr", "PSNR, dB ↑", 1, "≥ 26"),
    ("ssim", "SSIM ↑", 3, ""),
    ("abs_rel@metric", "depth AbsRel (metric) ↓", 3, "≤ 0.05"),
    ("delta1@metric", "depth δ₁ ↑", 3, ""),
    ("delta2@metric", "depth δ₂ ↑", 3, ""),
    ("delta_psnr@shuffled", "ΔPSNR (another episode's actions), dB ↑", 1, "≥ 6"),
    ("delta_psnr@genie_random", "ΔPSNR (Genie's protocol: random actions), dB ↑", 1, ""),
)
MARKERS = re.compile(r"<!-- results -->.*<!-- /results -->", flags=re.DOTALL)


def table(results: Results) -> str:
    """Caption and table in Markdown."""
    setting = results.setting
    lines = [
        f"`roboscape evaluate --checkpoint {setting.checkpoint} --dataset {setting.dataset}`: "
        f"{setting.num_clips} {setting.split} episodes (seeds {setting.first_seed} to "
        f"{setting.last_seed}, never trained on), {setting.horizon} frames imagined from one, "
        f"greedy, one pass a frame; {setting.machine}, {setting.number_format}. The still frame "
        "repeats the given frame; the ceiling is the truth through the tokenizer.",
        "",
        "| metric | still frame | **model** | tokenizer ceiling | aim |",
        "|---|---|---|---|---|",
    ]
    for key, title, digits, aim in ROWS:
        floor, model, ceiling = (
            score(results, key, subject, digits) for subject in ("static", "model", "ceiling")
        )
        lines.append(f"| {title} | {floor} | **{model}** | {ceiling} | {aim} |")
    if results.cube:
        lines.append(
            "| cube rises when and only when it does in truth ↑ | – | "
            f"**{results.cube.agreement:.0%}** | – | ≥ 90 % |"
        )
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
