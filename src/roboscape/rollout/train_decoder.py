"""Teach a bundle's decoder to read what its world model believes: `roboscape train decoder`.

A world model knows more of a frame than its likeliest tokens: how sure it is of every bit, and how
likely a patch still shows the given frame. A decoder that was taught with true tokens cannot read
that. Here it learns from imagined clips: from beliefs and the given frame to the true pixels. The
encoder and the world model stay as they are.

With `--student.*`, a decoder of fewer or narrower convolutions takes the place of the bundle's and
learns from its pictures too (distillation, Hinton et al. 2015): those hold less noise than the true
frames, which beliefs do not determine.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.rollout.imaginings import ImaginedClips, Imaginings, Shape
from roboscape.tokenizer.codes import code_to_vectors
from roboscape.tokenizer.config import TokenizerConfig
from roboscape.tokenizer.decoder import GivenView
from roboscape.tokenizer.losses import psnr
from roboscape.tokenizer.model import SoftCodes, Tokenizer
from roboscape.tokenizer.train import TABLES
from roboscape.training.formats import settle_formats
from roboscape.training.loop import FitConfig, fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution

_BLOCK, _BATCH = 1, 2
"""Keep the draws of clips and of images apart."""


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """A cheaper decoder in the place of the bundle's, which is its teacher."""

    convolution_width: int | None = None
    """Channels at a quarter of the image's size; the teacher's where not given."""
    convolution_blocks: int | None = None
    """Residual blocks there; the teacher's where not given."""
    teacher_share: float = 0.5
    """Share of the loss that is taken against the teacher's picture, the rest against the truth."""

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.teacher_share <= 1:
            raise UserError(f"student.teacher_share must lie in [0, 1], got {self.teacher_share}")

    @property
    def wanted(self) -> bool:
        """Whether there is to be one."""
        return self.convolution_width is not None or self.convolution_blocks is not None

    def shape(self, teacher: TokenizerConfig) -> TokenizerConfig:
        """Sizes of the student's tokenizer.

        Raises:
            UserError: they exceed the teacher's, or are less than 1.
        """
        wanted = {
            name: size
            for name in ("convolution_width", "convolution_blocks")
            if (size := getattr(self, name)) is not None
        }
        for name, size in wanted.items():
            if not 1 <= size <= getattr(teacher, name):
                raise UserError(
                    f"student.{name} must lie between 1 and the teacher's "
                    f"{getattr(teacher, name)}, got {size}"
                )
        return replace(teacher, **wanted)


@dataclass(frozen=True, kw_only=True)
class DecoderRun:
    """Fine-tune a checkpoint's decoder on what its world model imagines."""

    checkpoint: str = "lift"
    """Name, folder or hub name of the bundle."""
    dataset: Path
    """LeRobot dataset; clips of its training split are imagined."""
    validation: Path | None = None
    """LeRobot dataset to measure on; the first one's validation episodes where not given."""
    output: Path
    """Run folder; the tokenizer with the new decoder ends in its `tokenizer` folder."""
    cameras: tuple[str, ...] = ()
    """Which cameras; those of the bundle's training where none is named."""
    depth: str | None = None
    """`recorded`, or its annotator; where not given: recorded depth, else the only annotator's."""
    horizon: int = 15
    """Imagined frames of a clip."""
    clips: int = 16
    """Clips that are imagined together."""
    reuse: int = 32
    """Steps that learn from the same imagined clips."""
    batch_size: int = 8
    """Images a step, half RGB and half depth; all RGB without depth."""
    believed: float = 0.6
    """Share of steps that decode beliefs; the others decode true tokens, which must not be lost."""
    blind: float = 0.5
    """Share of those others that are shown no given frame."""
    augmented: float = 0.0
    """Share of the clips that are imagined in other crops and colours than they were recorded in:
    few recordings are learnt by heart."""
    validation_clips: int = 24
    """Clips measured on, the first ones, which follow each other in their episodes."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; "auto" times both. A resumed run keeps its own."""
    absolute: float = 0.3
    """Weight of the absolute error beside the squared one, which PSNR counts."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """A cheaper decoder that learns instead of the bundle's."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=3e-4, muon_learning_rate=0.002)
    )
    """How weights move."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=2500, log_every=50, evaluate_every=500, checkpoint_every=250
        )
    )
    """How long."""

    def __post_init__(self) -> None:
        """Raise `UserError` for sizes and shares that make no sense."""
        if self.batch_size < 2 or self.batch_size % 2:
            raise UserError(f"batch_size must be even, got {self.batch_size}")
        if min(self.horizon, self.clips, self.reuse, self.validation_clips) < 1:
            raise UserError("horizon, clips, reuse and validation_clips must be 1 or more")
        for name in ("believed", "blind", "augmented"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise UserError(f"{name} is a share and must lie in [0, 1], got {share}")


def run(config: DecoderRun) -> Tokenizer:
    """Train, and leave the tokenizer in `output/tokenizer`."""
    bundle = Bundle.from_pretrained(config.checkpoint)
    if not bundle.tokenizer.config.given_frame:
        raise UserError(
            f"the decoder of {config.checkpoint} takes no given frame, so nothing can be likely to "
            "be unchanged; fine-tune the tokenizer first: `roboscape train tokenizer` with "
            "--start-from, --learns decoder and --model.given-frame"
        )
    if config.student.wanted and not bundle.tokenizer.config.soft_codes:
        raise UserError(
            f"the decoder of {config.checkpoint} reads no beliefs, so it cannot teach to; run "
            "`roboscape train decoder` without --student first"
        )
    if config.augmented and bundle.controls.object_names:
        raise UserError(
            f"the arm model of {config.checkpoint} takes {', '.join(bundle.controls.object_names)},"
            " which are read off frames, and an augmented clip shows them at other places; give "
            "--augmented 0"
        )
    open_run(config.output, config)
    imagining = bundle.for_imagining(Compute(device=config.device, precision=config.precision))
    shape = Shape(cameras=config.cameras, depth=config.depth, horizon=config.horizon)
    learnt = Imaginings.of(imagining, config.dataset, split="train", shape=shape)
    held_out = config.validation or config.dataset
    measured = Imaginings.of(imagining, held_out, split="validation", shape=shape)
    # The weights as they are: the decoder that imagines may have had them rounded to bf16.
    tokenizer = to_teach(bundle.tokenizer.to(imagining.tokenizer.device), config.student)
    teacher = imagining.tokenizer if config.student.wanted else None
    torch.manual_seed(seed_for(config.seed))
    device = tokenizer.device.type
    formats = settle_formats(
        config.output, config.precision, kinds=["convolution", "matmul"], device=device
    )
    config = replace(config, precision=formats["convolution"])
    trained = fit(
        tokenizer,
        step=make_step(tokenizer, learnt, config=config, teacher=teacher),
        optimizer=make_optimizer(
            tokenizer, config=config.optimizer, tables=TABLES, precision=formats["matmul"]
        ),
        config=config.fit,
        run=config.output,
        evaluate=make_evaluation(measured.first(config.validation_clips)),
        execution=Execution(formats=formats),
    )
    assert isinstance(trained, Tokenizer)
    trained.eval().save_pretrained(config.output / "tokenizer")
    return trained.cpu()


def to_teach(tokenizer: Tokenizer, student: StudentConfig | None = None) -> Tokenizer:
    """A copy whose decoder wants gradients and is said to read beliefs.

    A student of fewer blocks begins with the first ones, a narrower one with the first channels.
    """
    shape = (student or StudentConfig()).shape(tokenizer.config)
    taught = Tokenizer(replace(shape, soft_codes=True)).to(tokenizer.device)
    source = copy.deepcopy(tokenizer)
    # What comes after the blocks moves up.
    del source.decoder.convolutions[shape.convolution_blocks : tokenizer.config.convolution_blocks]
    found = source.state_dict()
    taught.load_state_dict(
        {
            name: found[name][tuple(slice(size) for size in own.shape)]
            for name, own in taught.state_dict().items()
        }
    )
    taught.encoder.requires_grad_(requires_grad=False)
    return taught


def make_step(
    tokenizer: Tokenizer, learnt: Imaginings, *, config: DecoderRun, teacher: Tokenizer | None
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""
    device = tokenizer.device
    dtype = compute_dtype(config.precision, kind="convolution", device=device.type)

    @lru_cache(maxsize=1)
    def block(number: int) -> tuple[ImaginedClips, ...]:
        return learnt.drawn(
            config.clips,
            coordinates=(config.seed, number, _BLOCK),
            augmented=config.augmented,
        )

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        generator = numpy_generator_for(config.seed, number, _BATCH)
        clips = block(number // config.reuse)
        believed, blind = generator.random(2)
        parts = [
            batch_of(
                one,
                generator.integers(one.truth.shape[:2], size=(config.batch_size // len(clips), 2)),
                believed=bool(believed < config.believed),
                code_bits=tokenizer.config.code_bits,
            )
            for one in clips
        ]
        truth, vectors, images, unchanged = (
            torch.cat(kind).to(device) for kind in zip(*parts, strict=True)
        )
        hidden = believed >= config.believed and blind < config.blind
        view = None if hidden else GivenView(images=images, unchanged=unchanged)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            shown = tokenizer.decoded(vectors, view).float()
        loss, squared = picture_loss(shown, truth, absolute=config.absolute)
        if teacher is None:
            return loss, {"squared": squared.item()}
        with torch.no_grad():
            picture = teacher.decoded(vectors, view).float().clamp(-1, 1)
        taught, differs = picture_loss(shown, picture, absolute=config.absolute)
        return torch.lerp(loss, taught, config.student.teacher_share), {
            "squared": squared.item(),
            "squared_to_teacher": differs.item(),
        }

    return step


def picture_loss(
    shown: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], *, absolute: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The squared error with the weighted absolute one, and the squared error alone."""
    squared = F.mse_loss(shown, truth)
    return squared + absolute * F.l1_loss(shown, truth), squared


def batch_of(
    clips: ImaginedClips, chosen: Int[np.ndarray, "q 2"], *, believed: bool, code_bits: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Truth, code vectors, given images and unchanged shares of some frames (clip, frame)."""
    clip, frame = torch.from_numpy(chosen).unbind(dim=1)
    if believed:
        vectors, unchanged = clips.soft.vectors[clip, frame], clips.soft.unchanged[clip, frame]
    else:
        codes = clips.true_codes[clip, frame]
        vectors = code_to_vectors(codes, code_bits=code_bits)
        unchanged = (codes == clips.given_codes[clip]).float()
    return clips.truth[clip, frame], vectors, clips.given[clip], unchanged


def make_evaluation(
    clips: tuple[ImaginedClips, ...],
) -> Callable[[nn.Module], dict[str, float]]:
    """PSNR of imagined frames, from beliefs and from likeliest tokens, and of true tokens."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Tokenizer)
        found = {}
        for name, one in zip(("rgb", "depth"), clips, strict=False):
            for kind, codes, soft in (
                ("believed", one.codes, one.soft),
                ("likeliest", one.codes, None),
                ("true", one.true_codes, None),
            ):
                found[f"{kind}_{name}_psnr"] = mean_psnr(model, one, codes, soft)
        return found

    return evaluate


def mean_psnr(
    tokenizer: Tokenizer, clips: ImaginedClips, codes: Int[Tensor, "b t n"], soft: SoftCodes | None
) -> float:
    """Of all frames, decoded from tokens or beliefs, their clip's given frame in view."""
    pictures = shown_clips(tokenizer, clips, codes, soft)
    scores = [
        psnr(shown, truth.to(tokenizer.device))
        for shown, truth in zip(pictures, clips.truth, strict=True)
    ]
    return torch.cat(scores).mean().item()


def shown_clips(
    tokenizer: Tokenizer, clips: ImaginedClips, codes: Int[Tensor, "b t n"], soft: SoftCodes | None
) -> Iterator[Float[Tensor, "t 3 h w"]]:
    """The frames of each clip, decoded as `mean_psnr` has it."""
    for clip in range(len(codes)):
        given = tokenizer.given_frame(
            clips.given[clip : clip + 1].to(tokenizer.device), clips.given_codes[clip : clip + 1]
        )
        believed = soft and soft.map(lambda x, c=clip: x[c].to(tokenizer.device))
        yield tokenizer.decode(codes[clip].to(tokenizer.device), given, believed)
