"""Train a success judge on recordings and imagined frames of them: `roboscape train judge`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from roboscape.clips.split import episodes_of
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.runs import open_run
from roboscape.core.seeding import generator_for, numpy_generator_for, seed_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.judge.correction import fitted_temperature
from roboscape.judge.examples import (
    JudgeExamples,
    imagined_examples,
    joined,
    recorded_examples,
)
from roboscape.judge.measure import ACCURACY, JudgeAccuracy, accuracy_content, measured
from roboscape.judge.network import SEEN, SUCCESS, JudgeConfig, SuccessNetwork
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator
from roboscape.training.learner import FitConfig
from roboscape.training.loop import fit_in_fp32
from roboscape.training.optimizer import OptimizerConfig

log = logging.getLogger(__name__)

JUDGE = "judge"
"""Folder of the trained judge in its run."""
BRIGHTNESS = 0.1
"""Largest change of contrast and of brightness (as a share of the range) in training."""


@dataclass(frozen=True, kw_only=True)
class JudgeRun:
    """A complete training of a success classifier: minutes on one core."""

    dataset: tuple[Path, ...]
    """LeRobot datasets with depth and a reward of 1 in rows that show success; their training
    splits are trained on. Episodes of all behaviours, those of failing policies (`roboscape collect
    policy`) among them: a judge that never saw a near miss does not find one."""
    validation: tuple[Path, ...] = ()
    """LeRobot datasets to calibrate and to measure on, half of their episodes each; the validation
    episodes of `dataset` where not given."""
    output: Path
    """Run folder; the judge itself ends in its `judge` folder."""
    checkpoint: str | None = None
    """Bundle that imagines the same episodes: the judge then learns imagined frames too, labelled
    by what happened in truth; recorded frames alone where not given."""
    camera: str = ""
    """Camera to read; the dataset's first one where not given."""
    stride: int = 4
    """Native rows from one frame to the next; of a checkpoint its own."""
    measure: str = ""
    """Folder, hub name or bundled name (`lift-judge`) of a trained judge: it is measured on all
    validation episodes, e.g. as another checkpoint imagines them, and nothing is trained."""
    imagined_episodes: int = 160
    """Training episodes of each dataset that are imagined, the first ones."""
    imagined_frames: int = 25
    """Frames of each, the given one included."""
    worlds: int = 16
    """Worlds imagined at a time."""
    frames: int = 2
    """Last frames that the judge reads."""
    reads_first: bool = False
    """Whether it reads the episode's first frame beside them: what has moved since is then to be
    seen, as of a drawer that stands elsewhere in every episode."""
    input_size: int = 64
    """Height and width that images are shrunk to."""
    finds_object: bool = True
    """Whether it learns when the object is not to be seen (Lift's cube, by its colour), so that
    verdicts can be unknown."""
    batch_size: int = 64
    """Frames a step."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=2e-3, weight_decay=1e-3, decay_fraction=0.7
        )
    )
    """How weights move."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=2500, log_every=50, evaluate_every=500, checkpoint_every=250
        )
    )
    """How long."""

    def __post_init__(self) -> None:
        """Refuse a training of nothing."""
        sizes = (self.stride, self.imagined_frames - 1, self.worlds, self.frames, self.batch_size)
        if min(sizes) < 1 or self.imagined_episodes < 0:
            raise UserError(f"expected sizes of 1 or more, got {self}")


@dataclass(frozen=True, kw_only=True)
class JudgeData:
    """The datasets that a judge is trained, calibrated and measured on."""

    training: JudgeExamples
    held_out: dict[str, JudgeExamples]
    """By kind of frames: `recorded`, and `imagined` where a checkpoint is given."""
    calibrating: list[int]
    """Episodes that the temperature is fitted on, numbered through all datasets."""
    measuring: list[int]
    """Episodes that errors are measured on."""


def run(config: JudgeRun) -> SuccessNetwork:
    """Train, calibrate, measure, and leave the judge in `output/judge`."""
    datasets = [LeRobotDataset(root) for root in config.dataset]
    validation = [LeRobotDataset(root) for root in config.validation] or datasets
    if config.measure:
        return measure_again(config, validation)
    shape = judge_config(config, datasets[0])
    for other in (*datasets, *validation):
        check_alike(other, shape)
    open_run(config.output, config)
    data = read_data(config, datasets, validation, shape=shape)
    torch.manual_seed(seed_for(config.seed))
    network = SuccessNetwork(shape).to(resolve_device(config.device))
    trained = fit_in_fp32(
        network,
        step=make_step(network, data.training, config=config),
        optimizer=config.optimizer,
        config=config.fit,
        run=config.output,
        evaluate=make_evaluation(data),
        precision="fp32",
    )
    trained.config = calibrated(trained, data)
    trained.save_pretrained(config.output / JUDGE)
    write_errors(
        trained, data.held_out, config=config, validation=validation, episodes=data.measuring
    )
    return trained.cpu()


def measure_again(config: JudgeRun, validation: Sequence[LeRobotDataset]) -> SuccessNetwork:
    """Measure a trained judge on all validation episodes; it is kept in `output/judge` too.

    Raises:
        ValueError: the recordings or the checkpoint's frames are not what the judge was made for,
            or no episode is for validation.
    """
    network = SuccessNetwork.from_pretrained(config.measure)
    shape, stride = network.config, stride_of_run(config)
    for dataset in validation:
        check_alike(dataset, shape)
        if (rate := dataset.spec.fps / stride) != shape.frame_hz:
            raise UserError(
                f"{config.measure} judges {shape.frame_hz:g} frames a second, {dataset.root} gives "
                f"{rate:g} here; give another --stride or --checkpoint"
            )
    held_out = sources(validation, "validation")
    if not held_out:
        raise UserError(f"no episode of {named(validation)} is for validation; give --validation")
    open_run(config.output, config)
    network.to(resolve_device(config.device)).save_pretrained(config.output / JUDGE)
    write_errors(
        network,
        held_out_examples(config, held_out, shape=shape),
        config=config,
        validation=validation,
        episodes=numbers_of(held_out),
    )
    return network.cpu()


def write_errors(
    network: SuccessNetwork,
    held_out: dict[str, JudgeExamples],
    *,
    config: JudgeRun,
    validation: Sequence[LeRobotDataset],
    episodes: list[int],
) -> None:
    """Measure a judge by kind of frames; write and print what was found."""
    found = {
        kind: measured(network, examples, episodes=episodes) for kind, examples in held_out.items()
    }
    about = {
        "dataset": named(validation),
        "checkpoint": config.checkpoint,
        "episodes": len(episodes),
    }
    write_json(config.output / JUDGE / ACCURACY, accuracy_content(found, **about))
    for kind, accuracy in found.items():
        log.info("%s", described(kind, accuracy))


def judge_config(config: JudgeRun, dataset: LeRobotDataset) -> JudgeConfig:
    """The configuration of the judge that a run trains.

    Raises:
        ValueError: no such camera, or one without depth.
    """
    known = {camera.name: camera for camera in dataset.spec.cameras}
    name = config.camera or next(iter(known))
    if name not in known or not known[name].has_depth:
        raise UserError(
            f"a judge reads RGB and recorded depth of one camera; {dataset.root} has depth of "
            f"{', '.join(n for n, c in known.items() if c.has_depth) or 'none'}, asked for "
            f"was {name!r}"
        )
    if known[name].height != known[name].width:
        raise UserError(f"a judge reads square images; camera {name!r} gives {known[name]}")
    spec = dataset.spec
    return JudgeConfig(
        camera=name,
        image_size=known[name].height,
        input_size=config.input_size,
        frames=config.frames,
        reads_first=config.reads_first,
        frame_hz=spec.fps / stride_of_run(config),
        task=dataset.episode_info(0).task,
        depth_min_m=spec.depth_min_m,
        depth_max_m=spec.depth_max_m,
        finds_object=config.finds_object,
    )


def stride_of_run(config: JudgeRun) -> int:
    """Native rows between two frames: the checkpoint's, where one imagines."""
    if config.checkpoint is None:
        return config.stride
    return Bundle.from_pretrained(config.checkpoint).controls.stride


def check_alike(dataset: LeRobotDataset, shape: JudgeConfig) -> None:
    """Refuse a dataset whose images are not those of the judge.

    Raises:
        ValueError: its camera is missing, has no depth, or is of another size.
    """
    found = {camera.name: camera for camera in dataset.spec.cameras}.get(shape.camera)
    side = shape.image_size
    if found is None or not found.has_depth or (found.height, found.width) != (side, side):
        raise UserError(
            f"the datasets of a judge must all have depth of camera {shape.camera!r} at {side} x "
            f"{side} pixels, as the first one has; {dataset.root} has "
            f"{', '.join(map(str, dataset.spec.cameras))}"
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Some episodes of a dataset."""

    dataset: LeRobotDataset
    episodes: list[int]
    first: int
    """The number of the dataset's first episode, where all datasets are numbered through."""

    @property
    def numbers(self) -> list[int]:
        """The episodes, numbered through all datasets."""
        return [self.first + episode for episode in self.episodes]


def numbers_of(some: Sequence[Source]) -> list[int]:
    """The episodes of all sources, numbered through all datasets."""
    return [number for source in some for number in source.numbers]


Making = Callable[[Source], JudgeExamples]
"""Reads or imagines the examples of a source."""


def sources(datasets: Sequence[LeRobotDataset], split: Split) -> list[Source]:
    """The episodes of a split of all datasets; those without any are left out."""
    found, first = [], 0
    for one in datasets:
        found.append(Source(dataset=one, episodes=episodes_of(one, split), first=first))
        first += one.num_episodes
    return [one for one in found if one.episodes]


def read_data(
    config: JudgeRun,
    datasets: Sequence[LeRobotDataset],
    validation: Sequence[LeRobotDataset],
    *,
    shape: JudgeConfig,
) -> JudgeData:
    """All examples, those of an interrupted run from its folder."""
    training, held_out = sources(datasets, "train"), sources(validation, "validation")
    measured_on = numbers_of(held_out)
    if not training or len(measured_on) < 2:
        raise UserError(
            f"expected training episodes in {named(datasets)} and two or more for validation in "
            f"{named(validation)}, got {sum(len(one.episodes) for one in training)} and "
            f"{len(measured_on)}; collect more, or give --validation"
        )
    learnt = [
        examples_of(config.output, "recorded_training", training, recorded_by(config, shape=shape))
    ]
    if config.checkpoint is not None and config.imagined_episodes:
        first = [
            replace(one, episodes=one.episodes[: config.imagined_episodes]) for one in training
        ]
        imagined = partial(imagine_for, config, shape=shape)
        learnt.append(examples_of(config.output, "imagined_training", first, imagined))
    return JudgeData(
        training=joined(learnt, first_episodes=[0] * len(learnt)),
        held_out=held_out_examples(config, held_out, shape=shape),
        calibrating=measured_on[::2],
        measuring=measured_on[1::2],
    )


def held_out_examples(
    config: JudgeRun, held_out: Sequence[Source], *, shape: JudgeConfig
) -> dict[str, JudgeExamples]:
    """Examples of validation episodes: `recorded`, and `imagined` where a checkpoint is given."""
    makers: dict[str, Making] = {"recorded": recorded_by(config, shape=shape)}
    if config.checkpoint is not None:
        makers["imagined"] = partial(imagine_for, config, shape=shape)
    return {
        kind: examples_of(config.output, f"{kind}_validation", held_out, make)
        for kind, make in makers.items()
    }


def recorded_by(config: JudgeRun, *, shape: JudgeConfig) -> Making:
    """Reads the examples of a source as they were recorded."""
    stride = stride_of_run(config)

    def read(source: Source) -> JudgeExamples:
        return recorded_examples(source.dataset, source.episodes, config=shape, stride=stride)

    return read


def examples_of(output: Path, kind: str, some: Sequence[Source], make: Making) -> JudgeExamples:
    """The examples of all sources, a file a source, numbered through all datasets."""
    return joined(
        [
            kept(output / f"{kind}_{number}.npz", lambda source=source: make(source))
            for number, source in enumerate(some)
        ],
        first_episodes=[source.first for source in some],
    )


def named(datasets: Sequence[LeRobotDataset]) -> str:
    """The folders of datasets, for messages."""
    return ", ".join(str(one.root) for one in datasets)


def imagine_for(config: JudgeRun, source: Source, *, shape: JudgeConfig) -> JudgeExamples:
    """Examples imagined by the run's checkpoint."""
    assert config.checkpoint is not None
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(Compute(device=config.device))
    views = bundle.world_model.config.views
    cameras = views if len(views) > 1 else (shape.camera,)
    simulator = LearnedSimulator(bundle, batch=config.worlds, cameras=cameras)
    try:
        return imagined_examples(
            simulator,
            source.dataset,
            source.episodes,
            config=shape,
            frames=config.imagined_frames,
        )
    finally:
        simulator.close()


def kept(path: Path, make: Callable[[], JudgeExamples]) -> JudgeExamples:
    """Examples from a file, made and written first where it is not there."""
    if not path.is_file():
        make().save(path)
    return JudgeExamples.load(path)


def make_step(
    network: SuccessNetwork, training: JudgeExamples, *, config: JudgeRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        chosen = numpy_generator_for(config.seed, number).integers(
            len(training), size=config.batch_size
        )
        device = next(network.parameters()).device
        images = torch.from_numpy(training.take(chosen))
        images = disturbed(images, generator=generator_for(config.seed, number, 1)).to(device)
        loss = judge_loss(network, images, training, chosen)
        return loss, {}

    return step


def disturbed(
    images: UInt8[Tensor, "b k 4 s s"], *, generator: torch.Generator
) -> UInt8[Tensor, "b k 4 s s"]:
    """Other contrast and brightness for every clip's colours; depth stays as it is."""
    shape = (len(images), 1, 1, 1, 1)
    contrast = 1 + BRIGHTNESS * (2 * torch.rand(shape, generator=generator) - 1)
    shift = 255 * BRIGHTNESS * (2 * torch.rand(shape, generator=generator) - 1)
    colours = (images[:, :, :3].float() * contrast + shift).clamp(0, 255).round().to(torch.uint8)
    return torch.cat([colours, images[:, :, 3:]], dim=2)


def judge_loss(
    network: SuccessNetwork, images: Tensor, examples: JudgeExamples, chosen: np.ndarray
) -> Float[Tensor, ""]:
    """Cross-entropy of success, and of a visible object where that is learnt."""
    logits = network(images)
    truth = torch.from_numpy(examples.success[chosen]).float().to(logits.device)
    loss = functional.binary_cross_entropy_with_logits(logits[:, SUCCESS], truth)
    if network.config.finds_object:
        seen = torch.from_numpy(examples.seen[chosen]).float().to(logits.device)
        loss = loss + functional.binary_cross_entropy_with_logits(logits[:, SEEN], seen)
    return loss


def make_evaluation(data: JudgeData) -> Callable[[nn.Module], dict[str, float]]:
    """Accuracy on the calibrating episodes' frames; those measured at the end stay away."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SuccessNetwork)
        return {
            f"{kind}_accuracy": measured(model, examples, episodes=data.calibrating).frames.accuracy
            for kind, examples in data.held_out.items()
        }

    return evaluate


def calibrated(network: SuccessNetwork, data: JudgeData) -> JudgeConfig:
    """The configuration with the temperature that suits the calibrating episodes, of all kinds."""
    logits, truth = [], []
    for examples in data.held_out.values():
        chosen = examples.of(data.calibrating)
        probability, _ = network.probabilities(examples.take(chosen))
        clipped = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
        logits.append(np.log(clipped / (1 - clipped)))
        truth.append(examples.success[chosen])
    found = fitted_temperature(np.concatenate(logits), np.concatenate(truth))
    return replace(network.config, temperature=found)


def described(kind: str, found: JudgeAccuracy) -> str:
    """One kind's errors in a line."""
    whole = found.episodes
    return (
        f"{kind} frames: accuracy {found.frames.accuracy:.3f}, calibration error "
        f"{found.calibration_error:.3f} (before: {found.calibration_error_before:.3f}); episodes: "
        f"sensitivity {whole.sensitivity:.3f}, specificity {whole.specificity:.3f}, "
        f"unknown {whole.unknown_success + whole.unknown_failure}"
    )
