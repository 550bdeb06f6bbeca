"""`roboscape evaluate`: imagine the held-out episodes, measure everything, write a report."""

import logging
import platform
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import nn

from roboscape.core.runs import describe_machine, git
from roboscape.dataset.depth_choice import RECORDED, depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.appearance import load_lpips
from roboscape.evaluate.clips import ClipSet, SplitChoice, choose_clips
from roboscape.evaluate.cube import CubeTest, cube_test, decided_clips
from roboscape.evaluate.examples import Example, choose_examples, make_examples
from roboscape.evaluate.measure import Measurement, Plan
from roboscape.evaluate.metrics import all_metrics
from roboscape.evaluate.report import write_report
from roboscape.evaluate.results import ClipRecord, Results, Setting, Subject
from roboscape.evaluate.scores import ScoreKey
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.rollout.videos import Sampling

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is imagined and how it is scored."""

    split: SplitChoice = "auto"
    """Episodes to measure; `auto` takes the most held-out split that the dataset has. Only episodes
    with seeds from 900000 on are ever called test."""
    clips: int | None = None
    """Number of episodes, from the first; all where there is none."""
    horizon: int = 15
    """Imagined frames a clip, from one given frame."""
    seeds: int = 1
    """Repetitions with other random numbers: other drawn tokens, other wrong actions."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn."""
    refinement_steps: int = 1
    """MaskGIT passes a frame; 1 predicts all tokens at once (Eq. 2)."""
    batch_size: int = 8
    """Clips imagined together; memory grows with it, not with the number of clips."""
    camera: str | None = None
    """The dataset's first camera where there is none."""
    cube: Literal["auto", "off"] = "auto"
    """The Lift cube test; `auto` runs it where the dataset's source is Lift."""
    examples: int = 2
    """Clips of every kind (best, median, worst, cube failures, lifts) that the report shows."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        for name in ("horizon", "seeds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more")
        if self.clips is not None and self.clips < 1:
            raise ValueError(f"--clips must be 1 or more, got {self.clips}")


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
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Every number, and a few clips to look at."""

    results: Results
    examples: tuple[Example, ...]


def evaluate(
    bundle: Bundle,
    dataset: LeRobotDataset,
    *,
    settings: EvaluationSettings,
    checkpoint: str = "in memory",
) -> EvaluationResult:
    """Measure a bundle on a dataset.

    Args:
        bundle: tokenizer, world model and how control signals are made.
        dataset: recordings with the bundle's action convention.
        settings: what is imagined and how it is scored.
        checkpoint: where the bundle comes from, for the record.
    """
    started = time.monotonic()
    clips = choose_clips(
        bundle,
        dataset,
        horizon=settings.horizon,
        split=settings.split,
        num_clips=settings.clips,
        camera=settings.camera,
    )
    why_no_cube = cube_missing(clips, settings)
    spec = dataset.spec
    plan = Plan(
        metrics=all_metrics(
            lpips=load_lpips(),
            nearest_m=spec.depth_min_m,
            farthest_m=spec.depth_max_m,
            depth_source=depth_source(dataset, clips.camera),
        ),
        sampling=Sampling(
            temperature=settings.temperature, refinement_steps=settings.refinement_steps
        ),
        seeds=tuple(range(settings.seeds)),
        batch_size=settings.batch_size,
        cube=not why_no_cube,
    )
    measurement = Measurement(clips, plan)
    measurement.run()
    records = clip_records(measurement)
    results = Results(
        setting=describe(clips, plan, checkpoint, duration_s=time.monotonic() - started),
        rows=measurement.rows(),
        cube=None if why_no_cube else count_cubes(measurement),
        cube_missing=why_no_cube,
        clips=records,
    )
    choices = choose_examples(records, each=settings.examples)
    codes = measurement.imagined_codes()
    return EvaluationResult(
        results=results,
        examples=make_examples(clips, choices=choices, codes=codes, records=records),
    )


def cube_missing(clips: ClipSet, settings: EvaluationSettings) -> str:
    """Why the cube test can't be run here; empty where it can."""
    if settings.cube == "off":
        return "switched off"
    if "Lift" not in clips.dataset.spec.source:
        return f"made for robosuite's Lift; this dataset is `{clips.dataset.spec.source}`"
    no_depth = depth_source(clips.dataset, clips.camera) != RECORDED
    if no_depth or clips.bundle.world_model.config.branches == "rgb":
        return "needs recorded depth and a model that imagines depth"
    return ""


def count_cubes(measurement: Measurement) -> CubeTest:
    """The cube test over all clips and seeds."""
    return cube_test(
        true=measurement.cube_true,
        imagined=[sight for clips in measurement.cube_imagined.values() for sight in clips],
        decoded=measurement.cube_decoded,
        rewarded=measurement.clips.rewarded(),
    )


def clip_records(measurement: Measurement) -> tuple[ClipRecord, ...]:
    """One record a clip, from the first seed."""

    def psnr_of(subject: Subject) -> list[float]:
        scores = measurement.book.scores(ScoreKey("psnr", "raw", subject))
        assert scores is not None
        return scores[0].mean(axis=-1).tolist()

    psnr, static, ceiling = psnr_of("model"), psnr_of("static"), psnr_of("ceiling")
    imagined = measurement.cube_imagined.get(measurement.plan.seeds[0], [])
    decided = decided_clips(measurement.cube_true, measurement.clips.rewarded()) if imagined else []
    records = []
    for clip in range(len(measurement.clips)):
        info = measurement.clips.info(clip)
        records.append(
            ClipRecord(
                episode=info.index,
                seed=info.seed,
                behaviour=info.behaviour,
                success=info.success,
                psnr_db=psnr[clip],
                static_psnr_db=static[clip],
                ceiling_psnr_db=ceiling[clip],
                cube_rose=(
                    measurement.cube_true[clip].rose if imagined and decided[clip] else None
                ),
                cube_rose_imagined=imagined[clip].rose if imagined else None,
            )
        )
    return tuple(records)


def describe(clips: ClipSet, plan: Plan, checkpoint: str, *, duration_s: float) -> Setting:
    """How it was measured."""
    seeds = [clips.info(clip).seed for clip in range(len(clips))]
    commit = git("rev-parse", "--short=12", "HEAD") or "not a git checkout"
    changed = " with uncommitted changes" if git("status", "--short") else ""
    return Setting(
        checkpoint=checkpoint,
        dataset=str(clips.dataset.root),
        split=clips.split,
        num_clips=len(clips),
        num_skipped=clips.num_skipped,
        first_seed=min(seeds),
        last_seed=max(seeds),
        horizon=clips.num_frames - 1,
        stride=clips.stride,
        frame_hz=clips.dataset.spec.fps / clips.stride,
        camera=clips.camera,
        seeds=plan.seeds,
        temperature=plan.sampling.temperature,
        refinement_steps=plan.sampling.refinement_steps,
        world_model_parameters=count_parameters(clips.bundle.world_model),
        tokenizer_parameters=count_parameters(clips.bundle.tokenizer),
        number_format=str(clips.bundle.world_model.hidden_dtype).removeprefix("torch."),
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        commit=commit + changed,
        machine=describe_machine(),
        versions=(
            f"roboscape {version('roboscape')}, torch {torch.__version__}, numpy {np.__version__}, "
            f"Python {platform.python_version()}"
        ),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        duration_s=duration_s,
    )


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in module.parameters())


def run(config: Evaluate) -> EvaluationResult:
    """Measure, write results.json and report.html, say where they are."""
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    dataset = LeRobotDataset(config.dataset)
    result = evaluate(bundle, dataset, settings=config.settings, checkpoint=config.checkpoint)
    result.results.save(config.output)
    path = write_report(result.results, result.examples, config.output)
    log.info("%s", headline(result.results))
    log.info("report: %s", path)
    return result


def headline(results: Results) -> str:
    """The numbers that one looks at first, in a few lines."""
    setting = results.setting
    lines = [f"{setting.split} split, {setting.num_clips} clips, {setting.horizon} imagined frames"]
    for key in ("psnr", "ssim", "abs_rel@metric", "delta_psnr@shuffled"):
        row = results.row(key)
        if row.model is None:
            continue
        scores = {subject: row.of(subject) for subject in ("static", "ceiling")}
        others = "".join(
            f", {subject} {found.estimate.mean:.{row.name.digits}f}"
            for subject, found in scores.items()
            if found
        )
        unit = f" {row.name.unit}" if row.name.unit else ""
        mean = f"{row.model.estimate.mean:.{row.name.digits}f}"
        lines.append(f"  {row.name.title:<20} {mean}{unit}{others}")
    if results.cube:
        lines.append(f"  {'cube test':<20} {results.cube.agreement:.0%} agree with truth")
    return "\n".join(lines)
