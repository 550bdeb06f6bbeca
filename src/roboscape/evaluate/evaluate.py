"""`roboscape evaluate`: predict the held-out episodes, measure everything, write a report."""

import logging
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from roboscape.core.errors import UserError
from roboscape.core.runs import command_line, describe_machine, git
from roboscape.dataset.depth_choice import NONE
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.appearance import load_lpips
from roboscape.evaluate.clips import ClipSet, SplitChoice, choose_clips
from roboscape.evaluate.commands import commands_note
from roboscape.evaluate.examples import Example, choose_examples, make_examples
from roboscape.evaluate.headline import text_table
from roboscape.evaluate.lift import LiftCube
from roboscape.evaluate.measure import Measurement, Plan
from roboscape.evaluate.metrics import all_metrics
from roboscape.evaluate.protocol import Predictor
from roboscape.evaluate.report import write_report
from roboscape.evaluate.results import ClipOutcome, ClipRecord, Results, Setting, Subject
from roboscape.evaluate.scores import ScoreKey
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.evaluate.tasks import TaskMetric, unseen
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.rollout.sampling import GREEDY, Sampling

log = logging.getLogger(__name__)

TASKS: tuple[TaskMetric, ...] = (LiftCube(),)
"""The task metrics that are tried on every dataset."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The settings of an evaluation: the prediction and its scoring."""

    split: SplitChoice = "auto"
    """Episodes to measure; `auto` takes the most held-out split that the dataset has. Simulated
    episodes are only ever called test from seed 900000 on."""
    clips: int | None = None
    """Number of episodes, from the first; all where there is none."""
    per_episode: int = 1
    """Clips of an episode at most, spread evenly over it; the first row's alone with 1. Intervals
    resample episodes, whose clips are alike."""
    horizon: int = 15
    """Predicted frames a clip, from one given frame."""
    seeds: int = 1
    """Repetitions with other random numbers: other drawn tokens, other wrong actions."""
    batch_size: int = 8
    """Clips predicted together; memory grows with it, not with the number of clips."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras that are the model's views, in its order; those of its training where
    none is named. Each is measured by itself, and the figures are means over them."""
    tasks: Literal["auto", "off"] = "auto"
    """Task metrics, for example the Lift cube test; `auto` runs those that are made for the
    dataset."""
    examples: int = 2
    """Clips of every kind (best, median, worst, the task's failures and successes) that the report
    shows."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        for name in ("horizon", "seeds", "batch_size", "per_episode"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be 1 or more")
        if self.clips is not None and self.clips < 1:
            raise UserError(f"--clips must be 1 or more, got {self.clips}")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Imagine held-out episodes from their first frame and write results.json and report.html."""

    checkpoint: str = "lift"
    """Name (`lift` comes with the package), folder or hub name of a bundle."""
    dataset: Path
    """LeRobot dataset to measure on."""
    output: Path
    """Folder for results.json, report.html and videos/."""
    settings: Annotated[EvaluationSettings, tyro.conf.arg(name="")] = EvaluationSettings()
    """What is imagined and how it is scored."""
    missing: tuple[str, ...] = ()
    """Views of the model, by the names of its training, that are withheld from its given frame."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = GREEDY
    """How tokens are chosen."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Every number, and a few clips to look at."""

    results: Results
    examples: tuple[Example, ...]


def evaluate(
    subject: Predictor,
    dataset: LeRobotDataset,
    *,
    settings: EvaluationSettings,
    checkpoint: str = "in memory",
) -> EvaluationResult:
    """Measure a predictor on a dataset, beside a still picture and, with tokens, its ceiling.

    Args:
        subject: anything that predicts videos; a bundle is one as `BundlePredictor(bundle)`.
        dataset: recordings that fit it.
        settings: what is predicted and how it is scored.
        checkpoint: where the subject comes from, for the record.

    Raises:
        ValueError: the recordings do not fit the subject, no episode is long enough, or the subject
            predicts videos of another form than `Predictor` promises.
    """
    started = time.monotonic()
    clips = choose_clips(
        subject.spec,
        dataset,
        horizon=settings.horizon,
        split=settings.split,
        num_clips=settings.clips,
        per_episode=settings.per_episode,
        cameras=settings.cameras,
    )
    missing = missing_tasks(clips, subject, settings)
    plan = make_plan(clips, settings, missing=missing)
    measurement = Measurement(subject, clips, plan)
    measurement.run()
    records = clip_records(measurement)
    results = Results(
        setting=describe(measurement, checkpoint, duration_s=time.monotonic() - started),
        rows=measurement.rows(),
        tasks=measurement.task_results(),
        tasks_missing=missing,
        clips=records,
    )
    examples = make_examples(
        measurement, choose_examples(records, plan.tasks, each=settings.examples), records
    )
    return EvaluationResult(results=results, examples=examples)


def make_plan(clips: ClipSet, settings: EvaluationSettings, *, missing: Collection[str]) -> Plan:
    """The measurements of the clips; task metrics whose titles are `missing` are left out."""
    spec = clips.dataset.spec
    return Plan(
        metrics=all_metrics(
            lpips=load_lpips(),
            nearest_m=spec.depth_min_m,
            farthest_m=spec.depth_max_m,
            depth_source=clips.depth,
        ),
        tasks=tuple(task for task in TASKS if task.name.title not in missing),
        seeds=tuple(range(settings.seeds)),
        batch_size=settings.batch_size,
    )


def missing_tasks(
    clips: ClipSet, subject: Predictor, settings: EvaluationSettings
) -> dict[str, str]:
    """The task metrics that are not measured, and why."""
    if settings.tasks == "off":
        return {task.name.title: "switched off" for task in TASKS}
    reasons = {task.name.title: task.missing(clips, subject.spec) for task in TASKS}
    return {title: reason for title, reason in reasons.items() if reason}


def clip_records(measurement: Measurement) -> tuple[ClipRecord, ...]:
    """One record a clip, from the first seed."""

    def psnr_of(subject: Subject) -> list[float] | None:
        scores = measurement.book.scores(ScoreKey("psnr", "raw", subject))
        return None if scores is None else scores[0].mean(axis=-1).tolist()

    psnr, static, ceiling = psnr_of("model"), psnr_of("static"), psnr_of("ceiling")
    assert psnr is not None
    assert static is not None
    tasks = {task.name.key: clip_outcomes(measurement, task) for task in measurement.plan.tasks}
    records = []
    for clip in range(len(measurement.clips)):
        info = measurement.clips.info(clip)
        records.append(
            ClipRecord(
                episode=info.index,
                start=measurement.clips.starts[clip],
                seed=info.seed,
                behaviour=info.behaviour,
                success=info.success,
                psnr_db=psnr[clip],
                static_psnr_db=static[clip],
                ceiling_psnr_db=ceiling[clip] if ceiling else None,
                tasks={key: outcomes[clip] for key, outcomes in tasks.items()},
            )
        )
    return tuple(records)


def clip_outcomes(measurement: Measurement, task: TaskMetric) -> list[ClipOutcome]:
    """The outcomes of a task metric in every clip, first seed."""
    true = measurement.outcomes[task.name.key, "truth"][0]
    shown = measurement.outcomes[task.name.key, "model"][measurement.plan.seeds[0]]
    decided = measurement.decided(task)
    return [
        ClipOutcome(
            truth=one.happened if decided[clip] else None,
            predicted=None if unseen(one, other) else other.happened,
        )
        for clip, (one, other) in enumerate(zip(true, shown, strict=True))
    ]


def describe(measurement: Measurement, checkpoint: str, *, duration_s: float) -> Setting:
    """The description of how it was measured."""
    clips, subject = measurement.clips, measurement.subject.spec
    seeds = [clips.info(clip).seed for clip in range(len(clips))]
    commit = git("rev-parse", "--short=12", "HEAD") or "not a git checkout"
    changed = " with uncommitted changes" if git("status", "--short") else ""
    return Setting(
        subject=subject.name,
        checkpoint=checkpoint,
        parameters=subject.parameters,
        facts=subject.facts,
        dataset=str(clips.dataset.root),
        split=clips.split,
        num_clips=len(clips),
        num_episodes=len(set(clips.episodes)),
        num_skipped=clips.num_skipped,
        first_seed=min(seeds),
        last_seed=max(seeds),
        horizon=clips.num_frames - 1,
        stride=clips.stride,
        frame_hz=clips.dataset.spec.fps / clips.stride,
        camera=", ".join(clips.cameras),
        given_depth=clips.depth != NONE,
        state_size=len(clips.dataset.spec.state_names),
        commands=commands_note(clips.dataset.spec),
        seeds=measurement.plan.seeds,
        command=command_line(),
        commit=commit + changed,
        machine=describe_machine(),
        versions=(
            f"roboscape {version('roboscape')}, torch {torch.__version__}, numpy {np.__version__}, "
            f"Python {platform.python_version()}"
        ),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        duration_s=duration_s,
    )


def run(config: Evaluate) -> EvaluationResult:
    """Measure, write results.json and report.html, say where they are."""
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    result = evaluate(
        BundlePredictor(
            bundle, config.sampling, name=Path(config.checkpoint).name, missing=config.missing
        ),
        LeRobotDataset(config.dataset),
        settings=config.settings,
        checkpoint=config.checkpoint,
    )
    result.results.save(config.output)
    path = write_report(result.results, result.examples, config.output)
    log.info("%s", headline(result.results))
    log.info("report: %s", path)
    return result


def headline(results: Results) -> str:
    """The numbers that one looks at first, in a few lines."""
    setting = results.setting
    first = f"{setting.what}, {setting.horizon} predicted frames each"
    notes = [setting.commands] if setting.commands else []
    return "\n".join([first, *notes, text_table({setting.subject: results})])
