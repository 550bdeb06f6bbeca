"""Train a success judge on recordings and imagined frames of them: `roboscape train judge`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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

    dataset: Path
    """LeRobot dataset with depth and a reward of 1 in rows that show success; its training split is
    trained on. Episodes of all behaviours: a judge that never saw a near miss does not find one."""
    validation: Path | None = None
    """LeRobot dataset to calibrate and to measure on, half of it each; the first one's validation
    episodes where not given."""
    output: Path
    """Run folder; the judge itself ends in its `judge` folder."""
    checkpoint: str | None = None
    """Bundle that imagines the same episodes: the judge then learns imagined frames too, labelled
    by what happened in truth; recorded frames alone where not given."""
    camera: str = ""
    """Camera to read; the dataset's first one where not given."""
    stride: int = 4
    """Native rows from one frame to the next; of a checkpoint its own."""
    imagined_episodes: int = 160
    """Training episodes that are imagined, the first ones."""
    imagined_frames: int = 25
    """Frames of each, the given one included."""
    worlds: int = 16
    """Worlds imagined at a time."""
    frames: int = 2
    """Last frames that the judge reads."""
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
    """Episodes that the temperature is fitted on."""
    measuring: list[int]
    """Episodes that errors are measured on."""


def run(config: JudgeRun) -> SuccessNetwork:
    """Train, calibrate, measure, and leave the judge in `output/judge`."""
    dataset = LeRobotDataset(config.dataset)
    validation = dataset if config.validation is None else LeRobotDataset(config.validation)
    shape = judge_config(config, dataset)
    open_run(config.output, config)
    data = read_data(config, dataset, validation, shape=shape)
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
    found = {
        kind: measured(trained, examples, episodes=data.measuring)
        for kind, examples in data.held_out.items()
    }
    about = {
        "dataset": str(validation.root),
        "checkpoint": config.checkpoint,
        "episodes": len(data.measuring),
    }
    write_json(config.output / JUDGE / ACCURACY, accuracy_content(found, **about))
    for kind, accuracy in found.items():
        log.info("%s", described(kind, accuracy))
    return trained.cpu()


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


def read_data(
    config: JudgeRun, dataset: LeRobotDataset, validation: LeRobotDataset, *, shape: JudgeConfig
) -> JudgeData:
    """All examples, those of an interrupted run from its folder."""
    stride, training = stride_of_run(config), episodes_of(dataset, "train")
    held_out = episodes_of(validation, "validation")
    if not training or len(held_out) < 2:
        raise UserError(
            f"expected training episodes in {dataset.root} and two or more for validation in "
            f"{validation.root}, got {len(training)} and {len(held_out)}; collect more, or give "
            "--validation"
        )

    def recorded(source: LeRobotDataset, episodes: Sequence[int], name: str) -> JudgeExamples:
        return kept(
            config.output / f"recorded_{name}.npz",
            lambda: recorded_examples(source, episodes, config=shape, stride=stride),
        )

    learnt = [recorded(dataset, training, "training")]
    known = {"recorded": recorded(validation, held_out, "validation")}
    if config.checkpoint is not None:
        chosen = training[: config.imagined_episodes]
        for source, episodes, name in (
            (dataset, chosen, "training"),
            (validation, held_out, "validation"),
        ):
            found = kept(
                config.output / f"imagined_{name}.npz",
                lambda source=source, episodes=episodes: imagine_for(
                    config, source, episodes, shape=shape
                ),
            )
            if name == "training":
                learnt.append(found)
            else:
                known["imagined"] = found
    return JudgeData(
        training=joined(learnt),
        held_out=known,
        calibrating=held_out[::2],
        measuring=held_out[1::2],
    )


def imagine_for(
    config: JudgeRun, source: LeRobotDataset, episodes: Sequence[int], *, shape: JudgeConfig
) -> JudgeExamples:
    """Examples imagined by the run's checkpoint."""
    assert config.checkpoint is not None
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(Compute(device=config.device))
    views = bundle.world_model.config.views
    cameras = views if len(views) > 1 else (shape.camera,)
    simulator = LearnedSimulator(bundle, batch=config.worlds, cameras=cameras)
    try:
        return imagined_examples(
            simulator, source, episodes, config=shape, frames=config.imagined_frames
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
