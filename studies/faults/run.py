"""Plant every fault in good recordings; say what `inspect` finds and what `repair` repairs.

    python -m studies.faults.run data/lift_validation --write docs/inspect.md

Writes the tables between the markers of that page; without --write they are printed. With --clean
other datasets are looked at as they are, to see false alarms. With --plots the plot of every
finding is kept.
"""

import argparse
import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.faults.finding import Finding, merged
from roboscape.inspection.faults.plots import draw_findings
from roboscape.inspection.findings import findings
from roboscape.inspection.repair import RepairDataset, run
from roboscape.inspection.survey import survey
from tests.planting.catalogue import PLANTINGS
from tests.planting.planting import Planted, Planting

BEGIN, END = "<!-- fault table: begin -->", "<!-- fault table: end -->"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one planted fault."""

    planting: Planting
    found: tuple[Finding, ...]
    """What was found of that kind, where it was planted."""
    others: tuple[str, ...]
    """Other kinds found in the planted data but not in the clean."""
    left: tuple[str, ...]
    """Kinds found in the repaired copy but not in the clean data."""

    @property
    def fixes(self) -> tuple[str, ...]:
        """The arguments of `repair`."""
        return merged(self.found)


def look(root: Path) -> list[Finding]:
    """All findings of a dataset."""
    dataset = LeRobotDataset(root)
    return findings(survey(dataset, max_episodes=2000, max_image_episodes=12), dataset.spec)


def write(root: Path, spec: DatasetSpec, episodes: list[Episode]) -> None:
    """Write a small dataset of several files."""
    with DatasetWriter(root, spec, episodes_per_file=4) as writer:
        for episode in episodes:
            writer.add(episode)


def try_out(
    planting: Planting, planted: Planted, *, clean: set[str], folder: Path, plots: Path | None
) -> Outcome:
    """Plant, look, repair, look again."""
    write(folder / "planted", planted.spec, planted.episodes)
    if planted.damage:
        planted.damage(folder / "planted")
    problems = look(folder / "planted")
    found = tuple(
        one for one in problems if one.kind == planting.kind and planted.where in one.where
    )
    if plots:
        draw_findings(list(found), plots / planting.name)
    left: set[str] = set()
    if fixes := merged(found):
        run(RepairDataset(dataset=folder / "planted", output=folder / "repaired", fix=fixes))
        left = {one.kind for one in look(folder / "repaired")} - clean
    return Outcome(
        planting=planting,
        found=tuple(replace(one, text=one.text.replace(f"{folder}/", "")) for one in found),
        others=tuple(sorted({one.kind for one in problems} - clean - {planting.kind})),
        left=tuple(sorted(left)),
    )


def planting_table(outcomes: list[Outcome]) -> list[str]:
    """What became of every planting, in Markdown."""
    lines = [
        "| kind | planted | what `inspect` says | plot | `repair` | gone after it | also said |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        found = outcome.found
        cells = [
            f"`{outcome.planting.kind}`",
            outcome.planting.how,
            found[0].text if found else "**missed**",
            "yes" if found and found[0].plot else "–",
            " ".join(f"`--fix {fix}`" for fix in outcome.fixes) or "–",
            (f"**no: {', '.join(outcome.left)}**" if outcome.left else "yes")
            if outcome.fixes
            else "–",
            ", ".join(outcome.others) or "–",
        ]
        lines.append(_row(cells))
    return lines


def clean_table(roots: list[Path]) -> list[str]:
    """What is said of datasets as they are, in Markdown."""
    lines = ["| recordings | episodes | rows | what `inspect` says |", "|---|---|---|---|"]
    for root in tqdm(roots, desc="looking"):
        dataset = LeRobotDataset(root)
        said = "<br>".join(f"`{one.kind}`: {one.text}" for one in look(root))
        about = (str(dataset.num_episodes), str(dataset.num_frames), said or "nothing looks wrong")
        lines.append(_row([dataset.spec.source, *about]))
    return lines


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def summarise(outcomes: list[Outcome], *, source: LeRobotDataset, episodes: int) -> str:
    """The result in one paragraph."""
    kinds = {one.planting.kind for one in outcomes}
    found = [one for one in outcomes if one.found]
    repairable = [one for one in found if one.fixes]
    return (
        f"{len(kinds)} kinds of faults, planted in {len(outcomes)} ways in {episodes} episodes of "
        f"{source.spec.source}: {len(found)} found where they were planted. For {len(repairable)} "
        f"of them `inspect` prints a command, after which "
        f"{sum(not one.left for one in repairable)} copies show nothing any more; the others "
        "only a person can repair, as the text says."
    )


def main() -> None:
    """Try every planting on the first episodes of a dataset."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--only", nargs="*", help="names of plantings; all where not given")
    parser.add_argument("--clean", nargs="*", type=Path, default=[], help="looked at as they are")
    parser.add_argument("--plots", type=Path, help="folder for the plots of the findings")
    parser.add_argument("--write", type=Path, help="page to write the tables into")
    arguments = parser.parse_args()
    source = LeRobotDataset(arguments.dataset)
    count = min(arguments.episodes, source.num_episodes)
    episodes = [source.episode(number) for number in range(count)]
    chosen = [one for one in PLANTINGS if not arguments.only or one.name in arguments.only]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "clean", source.spec, episodes)
        before = look(Path(name) / "clean")
        for planting in tqdm(chosen, desc="planting"):
            planted = planting.plant(source.spec, episodes)
            if planted is None:
                continue
            outcome = try_out(
                planting,
                planted,
                clean={one.kind for one in before},
                folder=Path(name) / planting.name,
                plots=arguments.plots,
            )
            tqdm.write(planting_table([outcome])[-1])
            outcomes.append(outcome)
    content = [
        summarise(outcomes, source=source, episodes=count),
        f"Before planting: {', '.join(one.kind for one in before) or 'nothing looks wrong'}.",
        "",
        *planting_table(outcomes),
    ]
    if arguments.clean:
        content += ["", *clean_table([arguments.dataset, *arguments.clean])]
    print("\n".join(itertools.islice(content, 2)))
    if arguments.write:
        before_table, rest = arguments.write.read_text().split(BEGIN)
        text = "\n".join([before_table + BEGIN, *content, END + rest.split(END)[1]])
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
