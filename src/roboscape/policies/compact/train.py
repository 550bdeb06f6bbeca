"""Train a compact policy on demonstrations: `roboscape train policy compact`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.clips.split import episodes_of
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision
from roboscape.core.progress import progress
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.dataset.frame_actions import native_convention, stride_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.policies.compact.config import CompactPolicyConfig
from roboscape.policies.compact.model import CompactPolicyNetwork, Shown
from roboscape.policies.compact.tokens import (
    TOKENIZER,
    begin_as,
    check_reader,
    encoded,
    kept_tokenizer,
    tokens_read,
)
from roboscape.policies.demonstrations import Demonstration, read_demonstrations
from roboscape.tokenizer.codes import MISSING
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader
from roboscape.training.formats import settle_formats
from roboscape.training.learner import FitConfig, Microbatch
from roboscape.training.loop import fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution

log = logging.getLogger(__name__)

POLICY = "policy"
"""Folder of the trained policy in its run."""


@dataclass(frozen=True, kw_only=True)
class CompactPolicyRun:
    """Train a small policy on the successful episodes of a dataset, in well under an hour."""

    dataset: Path
    """LeRobot dataset; the successful episodes of its training split are the demonstrations."""
    more: tuple[Path, ...] = ()
    """Further datasets with the same cameras, states and actions, e.g. imagined ones."""
    validation: Path | None = None
    """LeRobot dataset to measure on; the first one's validation episodes where not given, and
    nothing is measured where it has none."""
    output: Path
    """Run folder; the policy itself ends in its `policy` folder."""
    cameras: tuple[str, ...] = ()
    """Cameras that it reads; the dataset's first one where none is named."""
    demonstrations: tuple[int, ...] = ()
    """At most so many demonstrations of each dataset, the first ones; empty: all of them."""
    tokenizer: str = ""
    """Tokenizer whose tokens it reads in place of pixels, e.g. `lift/tokenizer`: in worlds imagined
    in these tokens no picture need be drawn for it. Empty: it reads pixels."""
    reader: str = ""
    """State reader or object reader of these tokens that its features begin as, e.g.
    `lift/object_reader`: it knows already where things are. Empty: they begin as random ones."""
    hidden_tokens: float = 0.1
    """Share of tokens that are hidden from it in training."""
    every_row: bool = True
    """Whether a sample begins in every native row of recordings; otherwise only where the frames of
    the policy's rate lie, as in imagined episodes, which have no others."""
    state: bool = True
    """Whether it reads the robot's state."""
    frame_hz: float = 5.0
    """Frames a second that it reads, as many as the simulator that it will act in shows."""
    frames: int = 2
    """Frames that it reads at once."""
    chunk: int = 16
    """Native actions that it gives at once."""
    executed: int = 8
    """Actions of a chunk that are taken before it is asked again."""
    batch_size: int = 64
    """Samples a step."""
    brightness: float = 0.15
    """Largest change of brightness and contrast in training, as a share of the full range."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; `auto` measures which is fast."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=1e-3, weight_decay=1e-4, warmup_steps=100
        )
    )
    """How weights move."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=8000, log_every=50, evaluate_every=500, checkpoint_every=500, average_decay=0.998
        )
    )
    """How long."""

    def __post_init__(self) -> None:
        """Refuse empty batches."""
        if self.reader and not self.tokenizer:
            raise UserError(
                f"a reader ({self.reader}) reads tokens; give the --tokenizer that makes them too"
            )
        if not 0 <= self.hidden_tokens < 1:
            raise UserError(f"expected 0 <= hidden_tokens < 1, got {self.hidden_tokens:g}")
        if self.batch_size < 1 or any(count < 1 for count in self.demonstrations):
            raise UserError(
                f"expected batch_size >= 1 and demonstrations >= 1, got {self.batch_size} and "
                f"{self.demonstrations}"
            )
        if len(self.demonstrations) not in (0, 1 + len(self.more)):
            raise UserError(
                f"expected a number of demonstrations for each of {1 + len(self.more)} datasets, "
                f"got {len(self.demonstrations)}"
            )


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Demonstrations, ready to be drawn from."""

    demonstrations: list[Demonstration]
    config: CompactPolicyConfig
    spacing: int
    """Native rows between the frames that the policy reads."""

    @cached_property
    def ends(self) -> Int[np.ndarray, " e"]:
        """The number of the sample after the last one of each demonstration."""
        return np.cumsum([len(one) for one in self.demonstrations])

    def __len__(self) -> int:
        """Number of frames, each of which begins a sample."""
        return int(self.ends[-1])

    def read(self, numbers: Int[np.ndarray, " b"], *, seed: int = 0) -> "Batch":
        """The samples of some numbers, and the seed of the noise that is added to them."""
        ends = self.ends
        images, states, actions = [], [], []
        for number in numbers:
            which = int(np.searchsorted(ends, number, side="right"))
            one = self.demonstrations[which]
            frame = int(number - (ends[which] - len(one)))
            seen = one.history(frame, frames=self.config.frames, spacing=self.spacing)
            views = [one.images[name][seen] for name in self.config.cameras]
            images.append(np.stack(views, axis=1))
            states.append(one.states[seen][:, : len(self.config.state_names)])
            actions.append(one.chunk(frame, length=self.config.chunk))
        return Batch(
            seed=seed,
            images=torch.from_numpy(np.stack(images)),
            state=torch.from_numpy(np.stack(states).astype(np.float32)),
            actions=torch.from_numpy(np.stack(actions).astype(np.float32)),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples as the network takes them."""

    seed: int
    """Of the noise that is added to them."""
    images: Shown
    """Pixels, or tokens where the network reads these."""
    state: Float[Tensor, "b t s"]
    actions: Float[Tensor, "b c a"]

    def to(self, device: torch.device) -> "Batch":
        """The same samples on a device."""
        return Batch(
            seed=self.seed,
            images=self.images.to(device),
            state=self.state.to(device),
            actions=self.actions.to(device),
        )


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
    keep_tokenizer(config.output, tokenizer)
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


def keep_tokenizer(run: Path, tokenizer: Tokenizer | None) -> None:
    """Leave the tokenizer of a training in its folder, for those who use its checkpoints.

    Raises:
        ValueError: the training was begun with tokens of another encoder.
    """
    if tokenizer is None:
        return
    if (run / TOKENIZER).is_dir():
        read = tokens_read(tokenizer, image_size=tokenizer.config.image_size)
        kept_tokenizer(run, read)
    else:
        tokenizer.save_pretrained(run / TOKENIZER)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How demonstrations are read for a training."""

    config: CompactPolicyRun
    shape: CompactPolicyConfig
    tokenizer: Tokenizer | None
    """Turns their frames into tokens; None: pixels are read."""

    def samples(
        self, dataset: LeRobotDataset, split: Split, *, most: int | None, spacing: int
    ) -> list[Demonstration]:
        """The demonstrations of a dataset, the first `most` of a split."""
        found = read_demonstrations(
            dataset,
            split,
            cameras=self.shape.cameras,
            most=most,
            stride=1 if self.config.every_row else spacing,
        )
        if (tokenizer := self.tokenizer) is None:
            return found
        tokenizer.to(resolve_device(self.config.device))
        bar = progress(len(found), f"encoding {split}", unit="episodes")
        tokens = []
        for one in found:
            images = {name: encoded(tokenizer, frames) for name, frames in one.images.items()}
            tokens.append(replace(one, images=images))
            bar.update()
        bar.close()
        return tokens


def read_samples(reading: Reading, datasets: list[LeRobotDataset]) -> Samples:
    """The demonstrations to learn from."""
    spacing = frame_spacing(reading.config, datasets[0])
    counts = reading.config.demonstrations or (None,) * len(datasets)
    demonstrations = [
        one
        for dataset, count in zip(datasets, counts, strict=True)
        for one in reading.samples(dataset, "train", most=count, spacing=spacing)
    ]
    return Samples(demonstrations=demonstrations, config=reading.shape, spacing=spacing)


def read_held_out(reading: Reading, dataset: LeRobotDataset) -> Samples | None:
    """The demonstrations to measure on; None, which is logged, where there are none."""
    if reading.config.validation is None and not episodes_of(dataset, "validation"):
        log.warning(
            "%s has no validation episodes: the last weights are kept unmeasured (--validation)",
            dataset.root,
        )
        return None
    spacing = frame_spacing(reading.config, dataset)
    demonstrations = reading.samples(dataset, "validation", most=None, spacing=spacing)
    return Samples(demonstrations=demonstrations, config=reading.shape, spacing=spacing)


def policy_config(
    config: CompactPolicyRun,
    dataset: LeRobotDataset,
    *,
    tokenizer: Tokenizer | None,
    reader: StateReader | None,
) -> CompactPolicyConfig:
    """The shape of the policy that a run trains.

    Raises:
        ValueError: a camera that the dataset lacks, cameras of several sizes, a tokenizer of
            another size, or a reader of other tokens.
    """
    known = {camera.name: camera for camera in dataset.spec.cameras}
    cameras = config.cameras or (dataset.spec.cameras[0].name,)
    if unknown := [name for name in cameras if name not in known]:
        raise UserError(f"{dataset.root} has no camera {unknown}; it has {', '.join(known)}")
    sizes = {(known[name].height, known[name].width) for name in cameras}
    if len(sizes) > 1 or len(set(*sizes)) > 1:
        raise UserError(f"expected square images of one size from all cameras, got {sorted(sizes)}")
    tokens = tokens_read(tokenizer, image_size=known[cameras[0]].height)
    if reader is not None:
        check_reader(reader, tokens)
    shape = CompactPolicyConfig(
        convention=native_convention(dataset.spec.action),
        cameras=cameras,
        image_size=known[cameras[0]].height,
        tokens=tokens,
        state_names=dataset.spec.state_names if config.state else (),
        frame_hz=config.frame_hz,
        frames=config.frames,
        chunk=config.chunk,
        executed=config.executed,
    )
    if reader is None:
        return shape
    return replace(shape, channels=reader.config.width, keypoints=reader.config.keypoints)


def frame_spacing(config: CompactPolicyRun, dataset: LeRobotDataset) -> int:
    """Native rows between two frames that the policy reads."""
    action_hz = native_convention(dataset.spec.action).action_hz
    rows = action_hz / config.frame_hz if config.frame_hz > 0 else 0
    if rows < 1 or rows != round(rows):
        raise UserError(
            f"frame_hz must divide the {action_hz:g} actions a second of {dataset.root}, got "
            f"{config.frame_hz:g}"
        )
    stored = stride_of(dataset.spec.action)
    if round(rows) % stored:
        raise UserError(
            f"{dataset.root} has a frame every {stored} native actions, and frames "
            f"{config.frame_hz:g} a second lie {rows:g} apart; choose a frame_hz of its frames"
        )
    return round(rows)


def check_same_meaning(other: LeRobotDataset, first: LeRobotDataset) -> None:
    """Refuse datasets whose actions or states do not mean what the first one's do."""
    for what, found, expected in (
        ("actions", native_convention(other.spec.action), native_convention(first.spec.action)),
        ("states", other.spec.state_names, first.spec.state_names),
    ):
        if found != expected:
            raise UserError(
                f"the {what} of {other.root} and {first.root} differ: {found} against {expected}; "
                "a policy is trained on one convention"
            )


def set_ranges(network: CompactPolicyNetwork, demonstrations: list[Demonstration]) -> None:
    """Take the ranges of states and actions from the demonstrations."""
    actions = np.concatenate([one.actions for one in demonstrations])
    network.action_low.copy_(torch.from_numpy(actions.min(axis=0)))
    network.action_high.copy_(torch.from_numpy(actions.max(axis=0)))
    if network.config.state_names:
        states = np.concatenate([one.states for one in demonstrations]).astype(np.float32)
        network.state_low.copy_(torch.from_numpy(states.min(axis=0)))
        network.state_high.copy_(torch.from_numpy(states.max(axis=0)))


def make_prepare(
    samples: Samples, *, config: CompactPolicyRun
) -> Callable[[int], list[Microbatch]]:
    """Draws the samples of a step, from its number alone."""

    def prepare(number: int) -> list[Microbatch]:
        generator = numpy_generator_for(config.seed, number)
        numbers = generator.integers(len(samples), size=config.batch_size)
        drawn = samples.read(numbers, seed=seed_for(config.seed, number))
        return [Microbatch(content=drawn, counts={"samples": float(config.batch_size)})]

    return prepare


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
