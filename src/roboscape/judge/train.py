"""Train a success judge on recordings and imagined frames of them: `roboscape train judge`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from roboscape.core.device import resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.runs import open_run
from roboscape.core.seeding import generator_for, numpy_generator_for, seed_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.judge.correction import fitted_temperature
from roboscape.judge.data import (
    JudgeData,
    check_alike,
    held_out_examples,
    named,
    numbers_of,
    read_data,
    sources,
    stride_of_run,
)
from roboscape.judge.examples import JudgeExamples
from roboscape.judge.measure import ACCURACY, JudgeAccuracy, accuracy_content, measured
from roboscape.judge.network import SEEN, SUCCESS, JudgeConfig, SuccessNetwork
from roboscape.judge.settings import JudgeRun
from roboscape.training.loop import fit_in_fp32

log = logging.getLogger(__name__)

JUDGE = "judge"
"""Folder of the trained judge in its run."""
BRIGHTNESS = 0.1
"""Largest change of contrast and of brightness (as a share of the range) in training."""


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
