"""How often a fault that only numbers show is found, and how often one is seen that is not there.

    python -m studies.faults.rates data/lift_train --groups 25 --write docs/inspect.md

Takes groups of eight episodes without their images, looks at each as it is, then with every fault
of numbers and rows planted in it. Writes a table between the markers of that page.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from studies.faults.run import look, write
from tests.planting.catalogue import PLANTINGS
from tests.planting.planting import Planting

BEGIN, END = "<!-- fault rates: begin -->", "<!-- fault rates: end -->"
GROUP = 8


def without_images(source: LeRobotDataset, number: int) -> Episode:
    """The numbers of an episode."""
    info, actions = source.episode_info(number), source.actions(number)
    return Episode(
        frames={},
        depth_m={},
        tracks={},
        actions=actions,
        state=source.state(number),
        reward=np.zeros(len(actions), np.float32),
        task=info.task,
        success=bool(info.success),
        seed=info.seed,
        behaviour=info.behaviour,
    )


def found_in(planting: Planting, spec: DatasetSpec, episodes: list[Episode]) -> bool | None:
    """Whether a planted fault is found where it was planted; None where it cannot be planted."""
    planted = planting.plant(spec, episodes)
    if planted is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "planted"
        write(root, planted.spec, planted.episodes)
        if planted.damage:
            planted.damage(root)
        return any(one.kind == planting.kind and planted.where in one.where for one in look(root))


def seen_in(spec: DatasetSpec, episodes: list[Episode]) -> set[str]:
    """Kinds of findings in episodes as they are."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "clean", spec, episodes)
        return {one.kind for one in look(Path(name) / "clean")}


def main() -> None:
    """Count over groups of episodes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--groups", type=int, default=25)
    parser.add_argument("--write", type=Path, help="page to write the table into")
    arguments = parser.parse_args()
    source = LeRobotDataset(arguments.dataset)
    spec = replace(source.spec, cameras=())
    groups = min(arguments.groups, source.num_episodes // GROUP)
    chosen = [
        one
        for one in PLANTINGS
        if not one.plant.__module__.endswith("images")
        and one.kind not in ("unreadable", "outcomes_alike")
    ]
    found, tried, alarms = Counter[str](), Counter[str](), Counter[str]()
    for group in tqdm(range(groups), desc="groups"):
        numbers = range(group * GROUP, (group + 1) * GROUP)
        episodes = [without_images(source, number) for number in numbers]
        alarms.update(seen_in(spec, episodes))
        for planting in chosen:
            outcome = found_in(planting, spec, episodes)
            if outcome is not None:
                tried[planting.name] += 1
                found[planting.name] += outcome
    rows = [
        f"| `{one.kind}` | {one.how} | {found[one.name]} of {tried[one.name]} |"
        for one in chosen
        if tried[one.name]
    ]
    said = ", ".join(f"`{kind}` in {count}" for kind, count in alarms.items())
    content = [
        f"{groups} groups of {GROUP} episodes of {spec.source}, numbers alone. As they are: "
        f"{said or 'nothing is found in any'}. With a fault planted:",
        "",
        "| kind | planted | found in |",
        "|---|---|---|",
        *rows,
    ]
    print("\n".join(content))
    if arguments.write:
        before, rest = arguments.write.read_text().split(BEGIN)
        arguments.write.write_text("\n".join([before + BEGIN, *content, END + rest.split(END)[1]]))


if __name__ == "__main__":
    main()
