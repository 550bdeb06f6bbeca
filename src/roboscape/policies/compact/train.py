"""Train a compact policy on demonstrations: `roboscape train policy compact`."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from roboscape.core.device import resolve_device
from roboscape.core.runs import open_run
from roboscape.core.seeding import seed_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.policies.compact.config import TokensRead
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.samples import (
    Reading,
    Samples,
    check_same_meaning,
    frame_spacing,
    make_prepare,
    policy_config,
    read_held_out,
    read_samples,
)
from roboscape.policies.compact.settings import CompactPolicyRun
from roboscape.policies.compact.tokens import TOKENIZER, begin_as, kept_tokenizer
from roboscape.policies.demonstrations import Demonstration
from roboscape.tokenizer.codes import MISSING
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader
from roboscape.training.formats import settle_formats
from roboscape.training.learner import Microbatch
from roboscape.training.loop import fit
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import Execution

log = logging.getLogger(__name__)

POLICY = "policy"
"""Folder of the trained policy in its run."""


def run(config: CompactPolicyRun) -> CompactPolicyNetwork:
    """Train, and leave the policy in `output/policy`."""
    datasets = [LeRobotDataset(path) for path in (config.dataset, *config.more)]
    held_out = datasets[0] if config.validation is None else LeRobotDataset(config.validation)
    for other in (*datasets[1:], held_out):
        check_same_meaning(other, datasets[0])
    tokenizer = Tokenizer.from_pretrained(config.tokenizer) if config.tokenizer else None
    reader = StateReader.from_pretrained(config.reader) if config.reader else None
    shape = policy_config(config, datasets[0], tokenizer=tokenizer, reader=reader)
    frame_spacing(config, datasets[0])
    open_run(config.output, config)
    keep_tokenizer(config.output, tokenizer, shape.tokens)
    reading = Reading(config=config, shape=shape, tokenizer=tokenizer)
    learnt = read_samples(reading, datasets)
    evaluate = make_evaluation(read_held_out(reading, held_out))
    torch.manual_seed(seed_for(config.seed))
    network = CompactPolicyNetwork(shape)
    if reader is not None:
        begin_as(network, reader)
    set_ranges(network, learnt.demonstrations)
    device = torch.device(resolve_device(config.device))
    network.to(device)
    formats = settle_formats(
        config.output, config.precision, kinds=["matmul", "convolution"], device=str(device)
    )
    log.info(
        "%d demonstrations, %d samples; %.1f M parameters",
        len(learnt.demonstrations),
        len(learnt),
        sum(p.numel() for p in network.parameters()) / 1e6,
    )
    trained = fit(
        network,
        step=make_step(network, config=config, autocast=formats["convolution"] == "bf16"),
        prepare=make_prepare(learnt, config=config),
        optimizer=make_optimizer(network, config=config.optimizer, precision=formats["matmul"]),
        config=config.fit,
        run=config.output,
        evaluate=evaluate,
        execution=Execution(formats=formats),
    )
    assert isinstance(trained, CompactPolicyNetwork)
    trained.eval().save_pretrained(config.output / POLICY)
    if tokenizer is not None:
        tokenizer.cpu().save_pretrained(config.output / POLICY / TOKENIZER)
    return trained


def keep_tokenizer(run: Path, tokenizer: Tokenizer | None, tokens: TokensRead) -> None:
    """Leave the tokenizer of a training in its folder, for those who use its checkpoints.

    Raises:
        ValueError: the training was begun with tokens of another encoder.
    """
    if tokenizer is None:
        return
    if (run / TOKENIZER).is_dir():
        kept_tokenizer(run, tokens)
    else:
        tokenizer.save_pretrained(run / TOKENIZER)


def set_ranges(network: CompactPolicyNetwork, demonstrations: list[Demonstration]) -> None:
    """Take the ranges of states and actions from the demonstrations."""
    actions = np.concatenate([one.actions for one in demonstrations])
    network.action_low.copy_(torch.from_numpy(actions.min(axis=0)))
    network.action_high.copy_(torch.from_numpy(actions.max(axis=0)))
    if network.config.state_names:
        states = np.concatenate([one.states for one in demonstrations]).astype(np.float32)
        network.state_low.copy_(torch.from_numpy(states.min(axis=0)))
        network.state_high.copy_(torch.from_numpy(states.max(axis=0)))


def make_step(
    network: CompactPolicyNetwork, *, config: CompactPolicyRun, autocast: bool
) -> Callable[[Microbatch], tuple[Tensor, dict[str, float]]]:
    """The training step: from its samples to its loss."""
    device = next(network.parameters()).device

    def step(part: Microbatch) -> tuple[Tensor, dict[str, float]]:
        batch = part.content.to(device)
        generator = torch.Generator(device).manual_seed(batch.seed)
        drawn = torch.rand((len(batch.images), 2), generator=generator, device=device)
        colours = config.brightness * (2 * drawn - 1) + torch.tensor([1.0, 0.0], device=device)
        noise = torch.randn(batch.actions.shape, generator=generator, device=device)
        time = torch.rand(len(noise), generator=generator, device=device)
        images = batch.images
        if config.tokenizer:
            shown = torch.rand(images.shape, generator=generator, device=device)
            images = images.masked_fill(shown < config.hidden_tokens, MISSING)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            condition = network.encode(images, batch.state, colours=colours)
            loss = network.loss(batch.actions, condition, noise=noise, time=time)
        return loss, {}

    return step


def make_evaluation(
    samples: Samples | None, *, most: int = 256
) -> Callable[[nn.Module], dict[str, float]] | None:
    """Figures on held-out demonstrations: the flow's loss, and the drawn chunks' error."""
    if samples is None:
        return None
    numbers = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    drawn = samples.read(numbers)

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, CompactPolicyNetwork)
        batch = drawn.to(next(model.parameters()).device)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(batch.actions.shape, generator=generator).to(batch.actions)
        time = torch.linspace(0, 1, len(noise)).to(batch.actions)
        condition = model.encode(batch.images, batch.state)
        chunk = model.draw(condition, noise=noise)
        executed = model.config.executed
        error = (model.normalize(chunk) - model.normalize(batch.actions))[:, :executed].abs()
        loss = model.loss(batch.actions, condition, noise=noise, time=time)
        return {"loss": loss.item(), "action_error": error.mean().item()}

    return evaluate
