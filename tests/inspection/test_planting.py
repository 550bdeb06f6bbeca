import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.faults.finding import FaultKind, Finding
from roboscape.inspection.findings import findings
from roboscape.inspection.inspect import Inspect, run
from roboscape.inspection.repair import REPAIRS, RepairDataset
from roboscape.inspection.repair import run as repair
from roboscape.inspection.survey import survey
from tests.hand_recordings import SPEC, record
from tests.planting.catalogue import PLANTINGS
from tests.planting.planting import Planted, Planting

PAGE = Path(__file__).parents[2] / "docs/inspect.md"
FOR_A_PERSON = {"convention_unknown", "depth_clipped", "outcomes_alike"}
"""What no command can repair."""
SEEN_BY_WORDS = {"convention_unknown", "unreadable", "not_finite", "outcomes_alike"}
"""Findings whose sentence says it all, without a plot."""


@pytest.fixture(scope="module")
def recordings() -> list[Episode]:
    return [record(seed) for seed in range(5)]


def write(root: Path, spec: DatasetSpec, episodes: list[Episode]) -> None:
    with DatasetWriter(root, spec, episodes_per_file=2) as writer:
        for episode in episodes:
            writer.add(episode)


def look(root: Path) -> list[Finding]:
    dataset = LeRobotDataset(root)
    return findings(survey(dataset, max_episodes=100, max_image_episodes=10), dataset.spec)


def without_images(spec: DatasetSpec, episodes: list[Episode]) -> tuple[DatasetSpec, list[Episode]]:
    blind = [replace(one, frames={}, depth_m={}) for one in episodes]
    return replace(spec, cameras=()), blind


def without_depth(spec: DatasetSpec, episodes: list[Episode]) -> tuple[DatasetSpec, list[Episode]]:
    cameras = tuple(replace(camera, has_depth=False) for camera in spec.cameras)
    return replace(spec, cameras=cameras), [replace(one, depth_m={}) for one in episodes]


def plant(planting: Planting, episodes: list[Episode]) -> Planted:
    """In as little as shows it: video takes longest."""
    if planting.kind == "outcomes_alike":
        episodes = [record(seed, length=40) for seed in range(11)]
    if planting.kind == "depth_clipped":
        planted = planting.plant(SPEC, episodes[:2])
    elif planting.plant.__module__.endswith("images") or planting.kind == "unreadable":
        planted = planting.plant(*without_depth(SPEC, episodes[:3]))
    else:
        planted = planting.plant(*without_images(SPEC, episodes))
    assert planted is not None
    return planted


@pytest.mark.parametrize("planting", PLANTINGS, ids=lambda planting: planting.name)
def test_a_planted_fault_is_found_and_repaired(
    planting: Planting, recordings: list[Episode], tmp_path: Path
) -> None:
    planted = plant(planting, recordings)
    write(tmp_path / "planted", planted.spec, planted.episodes)
    if planted.damage:
        planted.damage(tmp_path / "planted")
    found = [
        one
        for one in look(tmp_path / "planted")
        if one.kind == planting.kind and planted.where in one.where
    ]
    assert found
    assert planting.kind in SEEN_BY_WORDS or all(one.plot for one in found)
    fixes = tuple(dict.fromkeys(fix for one in found for fix in one.fix))
    assert bool(fixes) == (planting.kind not in FOR_A_PERSON)
    if fixes:
        repair(RepairDataset(dataset=tmp_path / "planted", output=tmp_path / "repaired", fix=fixes))
        assert look(tmp_path / "repaired") == []


def test_nothing_is_wrong_with_recordings_without_faults(
    recordings: list[Episode], tmp_path: Path
) -> None:
    write(tmp_path / "clean", SPEC, recordings[:3])
    assert look(tmp_path / "clean") == []


def test_every_kind_but_an_empty_dataset_is_planted() -> None:
    assert {one.kind for one in PLANTINGS} == {*get_args(FaultKind)} - {"no_episodes"}


def test_the_page_explains_every_kind_and_names_every_fix() -> None:
    page = PAGE.read_text().split("<!-- fault table: begin -->")[0]
    for kind in get_args(FaultKind):
        assert f"| `{kind}` |" in page
    for fix in REPAIRS:
        assert re.search(rf"`(--fix )?{fix}[=`]", page), fix


def test_every_finding_comes_with_a_plot_and_a_command(
    recordings: list[Episode], tmp_path: Path
) -> None:
    spec, episodes = without_images(SPEC, recordings)
    flipped = [replace(one, actions=one.actions * [1, 1, 1, 1, 1, 1, -1]) for one in episodes]
    write(tmp_path / "flipped", spec, [replace(one, success=True) for one in flipped])
    output = tmp_path / "pictures"
    report = run(Inspect(dataset=tmp_path / "flipped", plots=True, output=output))
    assert "1 to look at" in report
    assert f"roboscape repair {tmp_path / 'flipped'} --output" in report
    assert report.rstrip().endswith("--fix flip_gripper")
    assert [path.name for path in output.iterdir()] == ["finding_01_gripper_inverted.png"]
