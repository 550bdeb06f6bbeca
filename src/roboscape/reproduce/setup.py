"""The flags that all studies share, and what they name: tokens, clips, tokenizer, result folder."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from roboscape.annotate.perturb.depth import DepthErrors
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision, compute_format
from roboscape.core.pretrained import resolve
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.clips import choose_clips
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.presets.world_model import PRESETS
from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.labels import TRUE, Labels, labelled_dataset
from roboscape.reproduce.measuring import Measure, quiet_threads
from roboscape.reproduce.results import CPU, STEPS, ResultFolder
from roboscape.reproduce.study import Study
from roboscape.reproduce.training import Recipe
from roboscape.reproduce.variants import TRUE_LABELS, Variant
from roboscape.rollout.bundle import TOKENIZER, Bundle
from roboscape.rollout.videos import chosen_views
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.tokens.store import TokenStore
from roboscape.tokens.weights import weights_sha256
from roboscape.world_model.train import WorldModelRun

WITHOUT_EFFECT = tuple(
    f"recipe.{name}"
    for name in (
        *("parallel", "accumulate", "recompute", "loaders", "dry_run"),
        *("fit.log_every", "fit.evaluate_every", "fit.checkpoint_every", "fit.keep_checkpoints"),
    )
)
"""Settings of a training that a study's results do not depend on: it trains in one process, and
neither saves nor validates on the way."""
QUICK = {"seeds": 2, "budget_s": 8.0, "clips": 8}
"""What `--quick` asks for: minutes, to see that everything runs; its numbers say nothing."""


@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """The data, the budget and the repetitions of a study."""

    train: Path = Path("data/lift_train")
    """LeRobot dataset to learn from, with recorded depth and a simulator's tracks."""
    validation: Path = Path("data/lift_validation")
    """LeRobot dataset whose validation episodes are measured on; never test episodes."""
    output: Path = Path("runs/reproduce")
    """Folder of tokens, results and pages; studies of equal settings may share it, and then share
    the runs that they have in common."""
    checkpoint: str = "lift"
    """Name or folder of the bundle whose tokenizer and control signals all variants use."""
    preset: Literal["lift", "metaworld", "general"] = "lift"
    """Name of the world model's preset that the variants change."""
    seeds: int = 5
    """Repetitions: seeds 0, 1, ... of initial weights, clips and masks, equal for all variants."""
    budget_s: float = 120.0
    """CPU seconds of one thread that a training takes."""
    step_s: float | None = None
    """CPU seconds of a step of the reference; timed where not given. Give those of a quiet machine
    where others work on it too, for CPU seconds grow then."""
    steps: int | None = None
    """Optimiser steps of the reference's training instead of `budget_s`; on a GPU, whose work CPU
    seconds do not count."""
    clips: int = 32
    """Validation clips that every run is measured on, one an episode."""
    horizon: int = 15
    """Imagined frames a clip, from one given frame."""
    precision: Precision = "auto"
    """Number format of the passes; `auto` times both, once a folder of results."""
    device: str = "cpu"
    """Where: `cpu` or `cuda`."""
    only: tuple[str, ...] = ()
    """Names of the variants to run; all where none is named. The page shows what is there."""
    protocols: tuple[Literal["cpu", "steps"], ...] = ()
    """What variants have in common: `cpu`, equal CPU seconds, or `steps`, as many optimiser steps;
    the study's own where none is named."""
    quick: bool = False
    """Minutes instead of hours: 2 seeds, 8 CPU seconds, 8 clips, in a folder of its own. It shows
    that everything runs; its numbers say nothing."""
    read: bool = False
    """Run nothing; write the page from the results that are there."""
    page: Path | None = None
    """Markdown page whose place `<!-- measured: PLACE -->` gets the tables, too."""
    place: str = ""
    """Name of that place; the study's own name where none is given."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        if min(self.seeds, self.clips, self.horizon) < 1 or self.budget_s <= 0:
            raise UserError("--seeds, --clips and --horizon must be 1 or more, --budget-s above 0")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps must be 1 or more, got {self.steps}")
        if self.step_s is not None and self.step_s <= 0:
            raise UserError(f"--step-s must be above 0, got {self.step_s}")
        if self.device != "cpu" and self.steps is None:
            raise UserError(
                f"a training on {self.device} is not counted in CPU seconds; give --steps"
            )

    def settled(self) -> "StudyFlags":
        """The same, with what `--quick` stands for."""
        if not self.quick:
            return self
        return replace(self, output=self.output / "quick", quick=False, **QUICK)


DEFAULT = StudyFlags()


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study before its data are opened."""

    name: str
    flags: StudyFlags
    variants: tuple[Variant, ...]
    protocols: tuple[str, ...] = (CPU, STEPS)
    labels: dict[str, Labels] = field(default_factory=dict)
    """Labels other than the true ones, by name."""
    base: Callable[[], WorldModelRun] | None = None
    """The training that the variants change; that of the flags' preset where none is given."""

    @property
    def training(self) -> WorldModelRun:
        """The training that the variants change."""
        return self.base() if self.base is not None else PRESETS[self.flags.preset]()


def finished_study(plan: StudyPlan) -> StudyDesign:
    """The study with its results: what is missing is done first, except under `--read`."""
    if plan.flags.read:
        return read_study(plan)
    study = open_study(plan)
    study.run()
    return study


def read_study(plan: StudyPlan) -> StudyDesign:
    """The results that a folder holds, with its own budget; neither data nor weights are needed.

    Raises:
        UserError: the folder holds no study.
    """
    flags = plan.flags.settled()
    results = ResultFolder(flags.output)
    if not results.exists:
        raise UserError(
            f"{flags.output} holds no results of a study; give the --output of one, or run the "
            "same command without --read"
        )
    settings = results.settings
    steps = settings["reference_steps"]
    return StudyDesign(
        variants=plan.variants,
        results=results,
        budget_s=settings["budget_s"] or flags.budget_s,
        step_s=settings["step_s"],
        fixed_steps=steps,
        seeds=tuple(range(flags.seeds)),
        protocols=protocols_of(replace(plan, flags=replace(flags, steps=steps))),
        only=flags.only,
    )


def open_study(plan: StudyPlan) -> Study:
    """Tokenize what is missing and open everything."""
    quiet_threads()
    flags = plan.flags.settled()
    results = ResultFolder(flags.output)
    bundle = Bundle.from_pretrained(flags.checkpoint)
    dataset = LeRobotDataset(flags.validation)
    (camera,) = chosen_views(bundle.world_model.config.views, dataset)
    base = plan.training
    number_format = format_of(results, flags)
    settings = settings_of(plan, bundle, base, camera=camera, number_format=number_format)
    results.agree(settings, ignored=WITHOUT_EFFECT)
    run = replace(base, device=flags.device, precision=number_format)
    tokens = Tokens(flags=flags, bundle=bundle, camera=camera, frames=base.model.max_frames)
    wanted = {TRUE_LABELS: TRUE} | plan.labels
    return Study(
        variants=plan.variants,
        recipe=Recipe(base=run, tokens={name: tokens.of(name, wanted[name]) for name in wanted}),
        measure=lambda: Measure(
            choose_clips(
                BundlePredictor(bundle).spec,
                dataset,
                horizon=flags.horizon,
                split="validation",
                num_clips=flags.clips,
                cameras=(camera,),
            )
        ),
        bundle=bundle,
        validation=TokenStore(tokens.of_validation()),
        results=results,
        budget_s=flags.budget_s,
        step_s=flags.step_s,
        fixed_steps=flags.steps,
        seeds=tuple(range(flags.seeds)),
        protocols=protocols_of(plan),
        only=flags.only,
        given_errors={
            name: errors for name, labels in plan.labels.items() if (errors := given_errors(labels))
        },
    )


def protocols_of(plan: StudyPlan) -> tuple[str, ...]:
    """The protocols of a study that its flags ask for.

    Raises:
        UserError: the study has none of them.
    """
    asked = plan.flags.protocols
    # With a number of steps given, that is what all have in common.
    known = (STEPS,) if plan.flags.steps else plan.protocols
    found = tuple(protocol for protocol in known if not asked or protocol in asked)
    if not found:
        raise UserError(
            f"expected --protocols of {' '.join(known)} for this study, got {' '.join(asked)}"
        )
    return found


def given_errors(labels: Labels) -> DepthErrors | None:
    """The errors of a given frame's depth; None where it is true."""
    return labels.depth if labels.depth is not None and labels.depth.any else None


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Makes the token stores of a study, each once."""

    flags: StudyFlags
    bundle: Bundle
    camera: str
    frames: int

    def of(self, name: str, labels: Labels) -> Path:
        """The store of the training episodes with these labels."""
        folder = self.flags.output / "tokens" / name
        dataset = self.flags.train
        if labels != TRUE:
            dataset = labelled_dataset(
                self.flags.train,
                self.flags.output / "labels",
                name=name,
                labels=labels,
                camera=self.camera,
            )
        return self._tokenize(dataset, folder, depth=labels.depth_source(name), labels=labels)

    def of_validation(self) -> Path:
        """The store of the validation episodes, with true labels."""
        folder = self.flags.output / "tokens" / "validation"
        return self._tokenize(self.flags.validation, folder, depth=TRUE.depth_source(""))

    def _tokenize(self, dataset: Path, output: Path, *, depth: str, labels: Labels = TRUE) -> Path:
        store = tokenize(
            Tokenize(
                datasets=(dataset,),
                tokenizer=str(resolve(self.flags.checkpoint) / TOKENIZER),
                output=output,
                cameras=(self.camera,),
                depth=depth,
                tracks=labels.tracks_source(output.name),
                stride=self.bundle.controls.stride,
                length=self.frames,
                controls=self.flags.checkpoint,
                device=self.flags.device,
            )
        )
        return store.root


def format_of(results: ResultFolder, flags: StudyFlags) -> Precision:
    """The number format of a folder's results; of a new one the one asked for."""
    if results.exists and flags.precision == "auto":
        found: Precision = results.settings["number_format"]
        return found
    return compute_format(flags.precision, device=flags.device)


def settings_of(
    plan: StudyPlan,
    bundle: Bundle,
    base: WorldModelRun,
    *,
    camera: str,
    number_format: Precision,
) -> dict[str, Any]:
    """The settings that all results of a folder have in common."""
    flags = plan.flags.settled()
    recipe = {
        name: value
        for name, value in asdict(base).items()
        if name not in ("tokens", "output", "precision", "device", "seed")
    }
    settings = {
        "train": str(flags.train),
        "validation": str(flags.validation),
        "camera": camera,
        "tokenizer_sha256": weights_sha256(resolve(flags.checkpoint) / TOKENIZER),
        "stride": bundle.controls.stride,
        "budget_s": None if flags.steps else flags.budget_s,
        "step_s": flags.step_s,
        "reference_steps": flags.steps,
        "clips": flags.clips,
        "horizon": flags.horizon,
        "number_format": number_format,
        "device": flags.device,
        "recipe": recipe,
    }
    # As a file gives them back: tuples are lists there, paths are text.
    return json.loads(json.dumps(settings, default=str))
