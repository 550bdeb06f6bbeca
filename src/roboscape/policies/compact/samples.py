"""The samples that a compact policy learns from: what was seen, and the actions that followed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.clips.split import episodes_of
from roboscape.core.device import resolve_device
from roboscape.core.errors import UserError
from roboscape.core.progress import progress
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.dataset.frame_actions import native_convention, stride_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.policies.compact.config import CompactPolicyConfig
from roboscape.policies.compact.model import Shown
from roboscape.policies.compact.settings import CompactPolicyRun
from roboscape.policies.compact.tokens import check_reader, encoded, tokens_read
from roboscape.policies.demonstrations import Demonstration, read_demonstrations, square_cameras
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader
from roboscape.training.learner import Microbatch

log = logging.getLogger(__name__)


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
    cameras, image_size = square_cameras(dataset, config.cameras)
    tokens = tokens_read(tokenizer, image_size=image_size)
    if reader is not None:
        check_reader(reader, tokens)
    shape = CompactPolicyConfig(
        convention=native_convention(dataset.spec.action),
        cameras=cameras,
        image_size=image_size,
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
