"""`roboscape repair`: a copy of a dataset without what `roboscape inspect` found."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.repairs import images, numbers, rows
from roboscape.inspection.repairs.repair import MakeRepair, Repair, SourceDataset

_LOG = logging.getLogger(__name__)

REPAIRS: dict[str, MakeRepair] = {
    "drop_episodes": rows.drop_episodes,
    "drop_dimension": numbers.drop_dimension,
    "drop_duplicated_frames": rows.drop_duplicated_frames,
    "drop_duplicated_rows": rows.drop_duplicated_rows,
    "trim_idle": rows.trim_idle,
    "shift_actions": rows.shift_actions,
    "shift_video": rows.shift_video,
    "rotate_video": images.rotate_video,
    "flip_video": images.flip_video,
    "flip_gripper": numbers.flip_gripper_repair,
    "unit_quaternions": numbers.unit_quaternions,
    "continuous_quaternions": numbers.continuous_quaternions,
    "radians": numbers.radians,
    "repair_spikes": numbers.repair_spikes,
    "set_fps": numbers.set_fps,
    "set_mode": numbers.set_mode,
    "set_scale": numbers.set_scale,
}
"""By the word before `=`; what may follow it is in each one's first line."""

RECORD = "repair.json"


@dataclass(frozen=True, kw_only=True)
class RepairDataset:
    """Write a repaired copy of a dataset; `roboscape inspect` prints the fixes that it needs."""

    dataset: tyro.conf.Positional[Path]
    """A LeRobot dataset (v2.0, v2.1 or v3.0); it stays as it is."""
    output: Path
    """Folder of the copy; must not exist."""
    fix: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KIND or KIND=VALUE, once a fix, applied in the order given; see docs/inspect.md."""


def run(config: RepairDataset) -> LeRobotDataset:
    """Write the copy, whole or not at all, and say what was done; returns it."""
    if not config.fix:
        raise UserError(f"give at least one --fix; there are: {', '.join(REPAIRS)}")
    if config.output.exists():
        raise UserError(f"{config.output} exists; a repaired copy goes to a new folder")
    dataset = LeRobotDataset(config.dataset)
    repairs = list(_make(config.fix, dataset))
    with atomic_path(config.output) as folder:
        left_out = 0
        with (
            DatasetWriter(folder, repairs[-1].spec) as writer,
            progress(dataset.num_episodes, "repairing", unit="episode") as bar,
        ):
            for number in range(dataset.num_episodes):
                bar.update()
                episode = _repaired(dataset, number, repairs)
                if episode is None:
                    left_out += 1
                    continue
                writer.add(episode)
        if left_out == dataset.num_episodes:
            raise UserError("these fixes leave no episode: record again, or fix less")
        about = {"source": str(config.dataset), "fixes": list(config.fix), "left_out": left_out}
        write_json(folder / RECORD, about)
    _LOG.info(
        "%s: %d of %d episodes of %s, repaired by %s; estimated annotations are made again by "
        "`roboscape annotate`",
        config.output,
        dataset.num_episodes - left_out,
        dataset.num_episodes,
        config.dataset,
        ", ".join(config.fix),
    )
    return LeRobotDataset(config.output)


def _make(fixes: tuple[str, ...], dataset: LeRobotDataset) -> Iterator[Repair]:
    """The repairs, each made for the spec that those before it leave."""
    source, spec = SourceDataset(dataset), dataset.spec
    for fix in fixes:
        kind, _, value = fix.partition("=")
        if kind not in REPAIRS:
            raise UserError(f"there is no fix {kind!r}; there are: {', '.join(REPAIRS)}")
        repair = REPAIRS[kind](value, spec, source)
        spec = repair.spec
        yield repair


def _repaired(dataset: LeRobotDataset, number: int, repairs: list[Repair]) -> Episode | None:
    """One episode after all repairs; None if one of them leaves it out."""
    if any(number in repair.dropped for repair in repairs):
        return None
    try:
        episode = dataset.episode(number)
    except ValueError as error:
        raise UserError(f"{error}; or add --fix drop_episodes={number}") from error
    for repair in repairs:
        repaired = repair.episode(number, episode)
        if repaired is None:
            return None
        episode = repaired
    return episode
