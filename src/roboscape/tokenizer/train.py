"""Train a tokenizer: `roboscape train tokenizer PRESET`."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.clips.split import Split, episodes_of
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.pretrained import load_weights, read_config, resolve
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.core.settings import differences
from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.ceiling import comparison_picture, measure_ceiling, save_picture
from roboscape.tokenizer.depth_image import share_outside
from roboscape.tokenizer.frames import FrameCache, Frames, JoinedFrames, cache_dataset, cache_scenes
from roboscape.tokenizer.losses import TokenizerLossConfig, code_usage, tokenizer_loss
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig, rgb_to_image
from roboscape.training.formats import settle_formats
from roboscape.training.loop import FitConfig, fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution

log = logging.getLogger(__name__)

COLLAPSED_BITS = 0.02
"""A bit with less entropy than this, in bits, is as good as dead."""
MOST_OUTSIDE = 0.1
"""Share of the depth outside a tokenizer's range with which it is not worth fine-tuning."""
_GIVEN = 3
"""Keeps the draws of given frames apart from others of the same seed and step."""
TABLES = ("decoder.position", "decoder.embed", "decoder.given.tokens")
"""Parameters that are lookup tables rather than hidden matrices, for the optimiser."""


@dataclass(frozen=True, kw_only=True)
class TokenizerRun:
    """A complete tokenizer training."""

    dataset: tuple[Path, ...]
    """LeRobot datasets, of one image size; their training splits are trained on (of several, some
    may have none). Those whose camera recorded no depth are learnt from as RGB alone."""
    validation: Path | None = None
    """LeRobot dataset to measure on; where not given, the validation episodes of those."""
    output: Path
    """Run folder; the tokenizer itself ends in its `tokenizer` folder."""
    start_from: str = ""
    """Name, folder or hub name of a tokenizer to fine-tune; its shape must be `model`'s, but it
    need not have the layers that read a given frame."""
    learns: Literal["all", "decoder"] = "all"
    """`decoder`: the encoder of `start_from` stays as it is, and so do all codes, such as those
    that a world model was trained on."""
    cameras: tuple[str, ...] = ()
    """Which cameras; each dataset's first one where none is named."""
    depth: str = RECORDED
    """`recorded`, `none` to train on RGB alone, or the annotator whose estimates are used."""
    stride: int = 4
    """Rows of an episode from one training frame to the next."""
    episodes: int | None = None
    """Number of training episodes of each dataset, the first ones; all where not given."""
    procedural_scenes: int = 0
    """Procedural scenes (moving shapes, four frames each) trained on beside the recordings: for
    few recordings, whose colours and shapes alone would make a narrow tokenizer."""
    balance: float = 1.0
    """Power of the number of frames of a dataset (or of the procedural scenes) to which its share
    of the batches is proportional: 1 counts every frame alike, 0 every dataset; between, small ones
    are not drowned."""
    validation_episodes: int = 16
    """Episodes measured on, of each dataset."""
    batch_size: int = 32
    """Images a step, half RGB and half depth; all RGB without depth."""
    given_share: float = 0.5
    """Share of steps whose decoder is shown an earlier frame of each image's episode; only where
    `model.given_frame` is on. These steps teach the decoder alone: else codes would learn to leave
    out what the given frame shows."""
    given_from: float = 0.5
    """Share of the training after which that begins."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; "auto" times both. A resumed run keeps its own."""
    model: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Sizes."""
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    """Weights of the terms."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How weights move."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How long."""

    def __post_init__(self) -> None:
        """Refuse a batch that can't hold both kinds of image equally."""
        if self.batch_size < 2 or self.batch_size % 2:
            raise UserError(f"batch_size must be even, got {self.batch_size}")
        if self.learns == "decoder" and not self.start_from:
            raise UserError(
                "--learns decoder keeps the encoder of another tokenizer; name it with --start-from"
            )
        if not self.dataset:
            raise UserError("expected at least one dataset, got none; name them in --dataset")


def run(config: TokenizerRun) -> Tokenizer:
    """Train, measure the ceiling, and leave the tokenizer in `output/tokenizer`."""
    open_run(config.output, config)
    datasets = [LeRobotDataset(root) for root in config.dataset]
    known = datasets if config.validation is None else [LeRobotDataset(config.validation)]
    parts = split_caches(datasets, "train", folder=config.output / "frames", config=config)
    if config.procedural_scenes:
        parts.append(
            cache_scenes(
                config.output / "procedural",
                number=config.procedural_scenes,
                side=config.model.image_size,
                depth=any(part.depth_m is not None for part in parts),
            )
        )
    shown = split_caches(
        known, "validation", folder=config.output / "validation_frames", config=config
    )
    for part in parts:
        check_frames(part, config=config)
    return train(
        config, frames=joined(parts, balance=config.balance), held_out=joined(shown, balance=1.0)
    )


def joined(parts: list[FrameCache], *, balance: float) -> Frames:
    """Several caches as one."""
    return parts[0] if len(parts) == 1 else JoinedFrames(parts, balance=balance)


def split_caches(
    datasets: list[LeRobotDataset], split: Split, *, folder: Path, config: TokenizerRun
) -> list[FrameCache]:
    """The frames of a split, one cache for each camera of each dataset that has episodes of it.

    Raises:
        ValueError: none has any.
    """
    most = config.episodes if split == "train" else config.validation_episodes
    chosen = [episodes_of(dataset, split) for dataset in datasets]
    if not any(chosen):
        needed_episodes(datasets[0], split)
    return [
        cache_dataset(
            dataset,
            # The first one's name is that of a run on one dataset and camera.
            folder if number == 0 else folder.with_name(f"{folder.name}_{number}"),
            episodes=episodes[:most],
            camera=camera,
            depth=depth_of(dataset, camera, config=config, alone=len(config.dataset) == 1),
            stride=config.stride,
        )
        for number, (dataset, episodes, camera) in enumerate(
            (dataset, episodes, camera)
            for dataset, episodes in zip(datasets, chosen, strict=True)
            for camera in config.cameras or (dataset.spec.cameras[0].name,)
        )
        if episodes
    ]


def depth_of(dataset: LeRobotDataset, camera: str, *, config: TokenizerRun, alone: bool) -> str:
    """The source of a dataset's depth: one of several may have recorded none."""
    recorded = any(one.has_depth for one in dataset.spec.cameras if one.name == camera)
    return NONE if config.depth == RECORDED and not recorded and not alone else config.depth


def needed_episodes(dataset: LeRobotDataset, split: Split) -> list[int]:
    """Indices of a split's episodes.

    Raises:
        ValueError: there is none.
    """
    found = episodes_of(dataset, split)
    if not found:
        raise UserError(
            f"none of the {dataset.num_episodes} episodes of {dataset.root} is for {split}; import "
            "or collect more (an import's --validation is the share that is held out), or give "
            "--validation another dataset"
        )
    return found


def train(config: TokenizerRun, *, frames: Frames, held_out: Frames) -> Tokenizer:
    """Train on frames that are already there."""
    device = resolve_device(config.device)
    torch.manual_seed(seed_for(config.seed))
    tokenizer = make_tokenizer(config).to(device)
    formats = settle_formats(
        config.output, config.precision, kinds=["convolution", "matmul"], device=device
    )
    config = replace(config, precision=formats["convolution"])
    optimizer = make_optimizer(
        tokenizer, config=config.optimizer, tables=TABLES, precision=formats["matmul"]
    )
    trained = fit(
        tokenizer,
        step=make_step(tokenizer, frames, config=config),
        optimizer=optimizer,
        config=config.fit,
        run=config.output,
        evaluate=make_evaluation(held_out, folder=config.output),
        execution=Execution(formats=formats),
    )
    assert isinstance(trained, Tokenizer)
    trained.eval().save_pretrained(config.output / "tokenizer")
    ceiling = measure_ceiling(trained, held_out)
    write_json(config.output / "tokenizer" / "ceiling.json", asdict(ceiling))
    depth = "" if ceiling.absrel is None else f", depth AbsRel {ceiling.absrel:.3f}"
    log.info(
        "the tokenizer keeps %d validation frames at PSNR %.1f dB%s, with %d codes in use",
        ceiling.frames,
        ceiling.psnr,
        depth,
        ceiling.distinct_codes,
    )
    return trained.cpu()


def make_tokenizer(config: TokenizerRun) -> Tokenizer:
    """A freshly initialised tokenizer, or the one to fine-tune.

    Raises:
        ValueError: the one to fine-tune has another shape; the message names what differs.
    """
    tokenizer = Tokenizer(config.model)
    if config.start_from:
        folder = resolve(config.start_from)
        found = read_config(TokenizerConfig, folder)
        # The given frame may be read for the first time, and expected codes are no shape.
        found = replace(
            found,
            given_frame=found.given_frame or config.model.given_frame,
            soft_codes=config.model.soft_codes,
        )
        if config.learns == "all":
            # Its codes change anyway, so depth may be drawn over another range.
            limits = {
                "depth_min_m": config.model.depth_min_m,
                "depth_max_m": config.model.depth_max_m,
            }
            found = replace(found, **limits)
        if found != config.model:
            different = differences(asdict(found), asdict(config.model))
            raise UserError(
                f"{folder} does not fit as a start ({different}); give --model the start's own "
                "shape"
            )
        log.info("the tokenizer starts from %s; it learns %s", folder, config.learns)
        load_weights(tokenizer, folder, newer=("decoder.given",))
    tokenizer.encoder.requires_grad_(requires_grad=config.learns == "all")
    return tokenizer


def check_frames(frames: Frames, *, config: TokenizerRun) -> None:
    """Refuse frames of another size, and depth that a tokenizer to fine-tune cannot show; warn of
    depth outside the range."""
    found = frames.size
    size = config.model.image_size
    if found != (size, size):
        raise UserError(
            f"{', '.join(map(str, config.dataset))}: frames of {found[0]} x {found[1]}, the "
            f"tokenizer takes {size} x {size}; set --model.image-size or resize the recordings"
        )
    if not frames.num_with_depth:
        return
    few = np.linspace(0, len(frames) - 1, num=min(64, len(frames)), dtype=int)
    low_m, high_m = config.model.depth_min_m, config.model.depth_max_m
    outside = share_outside(frames.depth_at(few), min_m=low_m, max_m=high_m)
    if config.start_from and outside > MOST_OUTSIDE:
        raise UserError(
            f"{outside:.0%} of the depth lies outside {low_m:g} to {high_m:g} m, the range of the "
            f"tokenizer to start from ({config.start_from}); start from one whose range fits, from "
            "scratch with a range of your own, or train without depth (--depth none)"
        )
    if outside > 0:
        log.warning(
            "%.2f %% of the depth lies outside %.2f to %.2f m and is clipped; "
            "--model.depth-min-m and --model.depth-max-m change the range",
            100 * outside,
            low_m,
            high_m,
        )


def make_step(
    tokenizer: Tokenizer, frames: Frames, *, config: TokenizerRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""
    device = next(tokenizer.parameters()).device
    dtype = compute_dtype(config.precision, kind="convolution", device=device.type)

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        images = batch_at(number, tokenizer=tokenizer, frames=frames, config=config).to(device)
        given = given_at(number, tokenizer=tokenizer, frames=frames, config=config)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            result = tokenizer(images, given=None if given is None else given.to(device))
        loss, figures = tokenizer_loss(result, images, config=config.loss)
        if number % config.fit.log_every == 0:
            usage = code_usage(result.codes, code_bits=config.model.code_bits)
            figures |= asdict(usage)
            if usage.lowest_bit_entropy < COLLAPSED_BITS and number >= 5 * config.fit.log_every:
                log.warning(
                    "CODEBOOK COLLAPSE at step %d: a bit carries %.3f bits of information (mean "
                    "of all bits %.2f); raise --loss.entropy or lower the learning rate",
                    number,
                    usage.lowest_bit_entropy,
                    usage.mean_bit_entropy,
                )
        return loss, figures

    return step


def batch_at(
    number: int, *, tokenizer: Tokenizer, frames: Frames, config: TokenizerRun
) -> Float[Tensor, "b 3 h w"]:
    """The images of one step: random frames, first half RGB, second half depth if there is any."""
    indices = indices_at(number, frames=frames, config=config)
    return images_of(indices, tokenizer=tokenizer, frames=frames)


def given_at(
    number: int, *, tokenizer: Tokenizer, frames: Frames, config: TokenizerRun
) -> Float[Tensor, "b 3 h w"] | None:
    """An earlier frame of the episode of every image of a step; None where none is shown."""
    generator = numpy_generator_for(config.seed, number, _GIVEN)
    early = number < config.given_from * config.fit.steps
    if early or not config.model.given_frame or generator.random() >= config.given_share:
        return None
    indices = indices_at(number, frames=frames, config=config)
    first = frames.first_of(indices)
    return images_of(
        first + (generator.random(indices.shape) * (indices - first + 1)).astype(np.int64),
        tokenizer=tokenizer,
        frames=frames,
    )


def indices_at(number: int, *, frames: Frames, config: TokenizerRun) -> Int[np.ndarray, "2 half"]:
    """The frames that the halves of a step's batch are from."""
    generator = numpy_generator_for(config.seed, number)
    return frames.draw(generator, half=config.batch_size // 2)


def images_of(
    indices: Int[np.ndarray, "2 half"], *, tokenizer: Tokenizer, frames: Frames
) -> Float[Tensor, "b 3 h w"]:
    """RGB of the first frames, depth of the second; RGB of all where there is no depth."""
    if not frames.num_with_depth:
        images = rgb_to_image(frames.rgb_at(indices.reshape(-1)))
    else:
        rgb = rgb_to_image(frames.rgb_at(indices[0]))
        depth = tokenizer.depth_to_image(frames.depth_at(indices[1]))
        images = torch.cat([rgb, depth])
    return images.contiguous(memory_format=torch.channels_last)


def make_evaluation(held_out: Frames, *, folder: Path) -> Callable[[nn.Module], dict[str, float]]:
    """Validation figures, and the newest reconstructions in `samples/reconstructions.png`."""
    shown = np.linspace(0, len(held_out) - 1, num=min(12, len(held_out)), dtype=int)

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Tokenizer)
        picture = comparison_picture(model, held_out, indices=shown)
        save_picture(picture, folder / "samples" / "reconstructions.png")
        ceiling = asdict(measure_ceiling(model, held_out))
        return {name: float(value) for name, value in ceiling.items() if value is not None}

    return evaluate
