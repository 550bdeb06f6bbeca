"""`roboscape inspect`: what a dataset holds, and what looks wrong in it."""

import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from roboscape.core.errors import UserError
from roboscape.dataset.annotations import annotated_episodes, annotations_folder, annotators
from roboscape.dataset.hub import hub_name
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Commands
from roboscape.dataset.splits import SPLITS
from roboscape.inspection.contact_sheet import (
    choose_episodes,
    show_episodes,
    write_moving_sheet,
    write_sheet,
)
from roboscape.inspection.faults.finding import Finding, merged
from roboscape.inspection.faults.plots import draw_findings
from roboscape.inspection.findings import findings
from roboscape.inspection.survey import Numbers, Survey, survey

_LOG = logging.getLogger(__name__)
_BARS = " ▁▂▃▄▅▆▇█"
_BINS = 16


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Say what a dataset holds and what looks wrong in it; draw it with --video."""

    dataset: tyro.conf.Positional[Path]
    """A LeRobot dataset (v2.0, v2.1 or v3.0): a folder, or `hf://owner/name`."""
    video: bool = False
    """Also write a contact sheet (PNG), a video of some episodes, and a plot a finding."""
    plots: bool = False
    """Also write a plot a finding."""
    output: Path | None = None
    """Folder for the pictures; `runs/inspect/<name of the dataset>` if not given."""
    camera: str | None = None
    """Camera of the pictures; the first one if not given."""
    episodes: int = 6
    """How many episodes the pictures show."""
    annotations: Path | None = None
    """Folder of annotations, where they are not in the dataset's own."""
    max_episodes: int = 2000
    """Episodes whose actions and states are read; more are sampled evenly."""
    max_image_episodes: int = 12
    """Episodes whose images are decoded in search of problems."""


def run(config: Inspect) -> str:
    """Print the report, write the pictures if asked for; returns the report."""
    dataset = LeRobotDataset(config.dataset)
    annotations = config.annotations or annotations_folder(config.dataset)
    if dataset.num_episodes <= config.max_episodes:
        dataset.fetch(cameras=())
    seen = survey(
        dataset,
        max_episodes=config.max_episodes,
        max_image_episodes=config.max_image_episodes,
    )
    problems = findings(seen, dataset.spec)
    report = describe(
        dataset, seen, problems, annotations=annotations, repair=repair_command(config.dataset)
    )
    sys.stdout.write(report)
    folder = config.output or Path("runs/inspect") / dataset.root.resolve().name
    if config.video or config.plots:
        draw_findings(problems, folder)
    if config.video and dataset.num_episodes:
        draw(dataset, folder, config=config, annotations=annotations, broken=set(seen.broken))
    return report


def describe(
    dataset: LeRobotDataset,
    seen: Survey,
    problems: list[Finding],
    *,
    annotations: Path,
    repair: str,
) -> str:
    """The report as text; `repair` is the command that the fixes are added to."""
    spec = dataset.spec
    lines = [
        f"{dataset.root}  (LeRobot {dataset.version}, {spec.robot_type}, "
        f"{spec.source or 'source unknown'})",
        "",
        *_about_episodes(dataset, seen),
        *_about_cameras(dataset, seen),
        *_about_annotations(dataset, annotations),
        *_about_actions(dataset),
        "",
        *_about_ranges("action", seen, units=spec.action.units),
        "",
        *_about_ranges("state", seen, units=None),
        "",
    ]
    if problems:
        lines += [f"{len(problems)} to look at", *_about_problems(problems, repair)]
    else:
        lines.append("nothing looks wrong")
    return "\n".join(lines) + "\n"


def draw(
    dataset: LeRobotDataset,
    folder: Path,
    *,
    config: Inspect,
    annotations: Path,
    broken: set[int],
) -> None:
    """Write the contact sheet and the video."""
    if not dataset.spec.cameras:
        raise UserError(f"{dataset.root} has no camera, so there is nothing to draw")
    camera = config.camera or dataset.spec.cameras[0].name
    chosen = choose_episodes(dataset, count=config.episodes, without=broken)
    shown, depth_limits_m = show_episodes(dataset, chosen, camera=camera, annotations=annotations)
    write_sheet(
        folder / "contact_sheet.png",
        shown,
        title=f"{dataset.root.resolve().name}, camera {camera}",
        columns=8,
        fps=dataset.spec.fps,
        depth_limits_m=depth_limits_m,
    )
    write_moving_sheet(folder / "episodes.mp4", shown, fps=dataset.spec.fps)
    _LOG.info("wrote %s and episodes.mp4 beside it", folder / "contact_sheet.png")


COMMANDS: dict[Commands, str] = {
    "recorded": "recorded",
    "next_state": (
        "missing ones hold the NEXT row's state: a model is given the pose that it is to predict"
    ),
    "current_state": "missing ones hold the state at their own row (lag one)",
}
"""What `DatasetSpec.commands` means, in words."""


def _about_episodes(dataset: LeRobotDataset, seen: Survey) -> Iterator[str]:
    fps = dataset.spec.fps
    yield (
        f"episodes     {dataset.num_episodes}, {dataset.num_frames} frames at {fps:g} Hz = "
        f"{dataset.num_frames / fps / 60:.1f} minutes"
    )
    if not dataset.num_episodes:
        return
    lengths = np.array(seen.lengths)
    yield (
        f"lengths      {lengths.min()} to {lengths.max()} rows, median {np.median(lengths):g} "
        f"({np.median(lengths) / fps:.1f} s)"
    )
    splits = Counter(dataset.episode_info(number).split for number in range(dataset.num_episodes))
    yield "splits       " + ", ".join(f"{splits[split]} {split}" for split in SPLITS)
    yield f"seeds        {min(seen.seeds)} to {max(seen.seeds)}"
    for task, count in seen.tasks.most_common(5):
        yield f"task         {task!r} ({count})"
    if len(seen.tasks) > 5:
        yield f"             and {len(seen.tasks) - 5} more tasks"
    for behaviour, outcomes in sorted(seen.outcomes.items()):
        known = outcomes[True] + outcomes[False]
        success = f"{outcomes[True] / known:.0%} succeed" if known else "success not recorded"
        share = outcomes.total() / dataset.num_episodes
        name = behaviour or "(not recorded)"
        yield f"behaviour    {name:<16} {outcomes.total():>6}  {share:>4.0%}   {success}"


def _about_cameras(dataset: LeRobotDataset, seen: Survey) -> Iterator[str]:
    for camera in dataset.spec.cameras:
        text = f"camera       {camera.name}: {camera.height} x {camera.width} RGB"
        if camera.has_depth:
            text += f" + depth ({dataset.spec.depth_min_m:g} to {dataset.spec.depth_max_m:g} m kept"
            quantiles_m = seen.cameras[camera.name].depth_quantiles_m
            if quantiles_m is not None:
                text += "; 1 %, 50 %, 99 %: " + ", ".join(f"{value:.2f}" for value in quantiles_m)
            text += ")"
        yield text


def _about_annotations(dataset: LeRobotDataset, annotations: Path) -> Iterator[str]:
    found = annotators(annotations)
    if not found:
        yield "annotations  none (`roboscape annotate` adds tracks and depth)"
    for one in found:
        for camera in dataset.spec.cameras:
            done = annotated_episodes(
                annotations, kind=one.kind, annotator=one.name, camera=camera.name
            )
            yield (
                f"annotations  {one.kind} by {one.name} {one.version}: {camera.name}, "
                f"{len(done)} of {dataset.num_episodes} episodes"
            )


def _about_actions(dataset: LeRobotDataset) -> Iterator[str]:
    action = dataset.spec.action
    yield f"commands     {COMMANDS[dataset.spec.commands]}"
    if not action.known:
        yield "convention   unknown: the dataset does not say what its actions mean"
        return
    yield (
        f"convention   {action.mode} actions at {action.action_hz:g} Hz in the frame "
        f"{action.frame}; rotation {action.rotation}; gripper {action.gripper}"
    )
    scales = (
        f"{name} {scale:g}{'' if unit == '1' else ' ' + unit}"
        for name, scale, unit in zip(action.names, action.scale, action.units, strict=True)
    )
    yield "             a stored 1 is " + ", ".join(scales)


def repair_command(dataset: Path) -> str:
    """`roboscape repair` for a dataset, followed by fixes; a hub's is repaired into `data`."""
    name = hub_name(dataset)
    if name is None:
        address, copy = str(dataset), f"{dataset}_repaired"
    else:
        # A `Path` keeps one of the two slashes.
        address = "hf://" + str(dataset).removeprefix("hf:").lstrip("/")
        copy = f"data/{name.repository.rpartition('/')[2]}_repaired"
    return f"roboscape repair {shlex.quote(address)} --output {shlex.quote(copy)}"


def _about_problems(problems: list[Finding], command: str) -> Iterator[str]:
    """Every finding with the command that repairs it, and the command that repairs them all."""
    for problem in problems:
        yield f"  ! [{problem.kind}] {problem}"
        if problem.fix:
            yield f"    {command} {' '.join(f'--fix {fix}' for fix in problem.fix)}"
    if len([problem for problem in problems if problem.fix]) > 1:
        yield "all together, in this order; look again after each if in doubt:"
        yield f"    {command} {' '.join(f'--fix {fix}' for fix in merged(problems))}"


def _about_ranges(what: Numbers, seen: Survey, *, units: tuple[str, ...] | None) -> Iterator[str]:
    """A table of the dimensions with a small histogram each."""
    names, values = seen.names(what), seen.values(what)
    if not names or not len(values):
        yield f"{what}: nothing recorded"
        return
    width = max(len(name) for name in (*names, what))
    yield f"{what:<{width}}  {'min':>9}  {'median':>9}  {'max':>9}  {'std':>9}  distribution"
    for place, (name, column) in enumerate(zip(names, values.T, strict=True)):
        numbers = (column.min(), np.median(column), column.max(), column.std())
        unit = f"  [{units[place]}]" if units and units[place] not in ("1", "unknown") else ""
        cells = "  ".join(f"{float(number) + 0.0:>9.3f}" for number in numbers)
        yield f"{name:<{width}}  {cells}  {_histogram(column)}{unit}"


def _histogram(column: np.ndarray) -> str:
    """Sixteen bars from the smallest to the largest value."""
    counts, _ = np.histogram(column, bins=_BINS)
    heights = np.ceil(counts / max(counts.max(), 1) * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[height] for height in heights)
