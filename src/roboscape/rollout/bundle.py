"""All that a rollout needs, in one folder or hub repository."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.controls.encoder import ControlEncoder
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.pretrained import resolve
from roboscape.core.threads import FastestThreads
from roboscape.tokenizer.inference import for_decoding
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import OBJECT_READER, StateReader
from roboscape.tokens.weights import encoder_sha256
from roboscape.world_model.inference import for_imagining
from roboscape.world_model.model import WorldModel

TOKENIZER, WORLD_MODEL, CARD = "tokenizer", "world_model", "README.md"
STATE_READER = "state_reader"


@dataclass(frozen=True, kw_only=True)
class Compute:
    """The device and the number format in which a bundle imagines."""

    device: str = AUTO
    """Where: auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """Number format of the transformer's matrix products and of the decoder; auto: what a short
    probe finds fast for each."""


PROBED = Compute()
"""On a GPU where there is one, else the CPU; in the format that is fast there."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A released checkpoint."""

    tokenizer: Tokenizer
    world_model: WorldModel
    controls: ControlEncoder
    state_reader: StateReader | None = None
    """Reads the robot's state off a frame's tokens; None where none was trained."""
    object_reader: StateReader | None = None
    """Reads the positions of objects off a frame's tokens, for an arm model that takes them; None
    where none was trained: they are unknown then."""
    threads: FastestThreads = field(default_factory=FastestThreads.one_or_all, compare=False)
    """How many threads of a CPU its imagining is fastest with; they change no bit of it."""

    def __post_init__(self) -> None:
        """Refuse parts that were not trained for each other, as far as their sizes tell."""
        model, tokenizer = self.world_model.config, self.tokenizer.config
        for what, expected, found in (
            ("tokens a view", model.tokens_per_view, tokenizer.tokens_per_frame),
            ("code bits", model.code_bits, tokenizer.code_bits),
            ("control numbers", model.control_size, self.controls.size),
        ):
            if expected != found:
                raise UserError(
                    f"the world model was trained with {expected} {what}, the bundle has {found}; "
                    "put the tokenizer and token store of its own training into the bundle"
                )
        reader, taken = self.object_reader, self.controls.object_names
        if reader is not None and reader.config.state_names != taken:
            raise UserError(
                f"the object reader reads {', '.join(reader.config.state_names)}, and the arm "
                f"model takes {', '.join(taken) or 'no objects'}; train one for the other"
            )

    def for_imagining(self, compute: Compute) -> "Bundle":
        """The same bundle on a device, world model and decoder in the formats that are fast there.

        The encoder keeps fp32: a code is a sign, and signs near zero would turn.
        """
        device = resolve_device(compute.device)
        matmul, convolution = (
            compute_dtype(compute.precision, kind=kind, device=device)
            for kind in ("matmul", "convolution")
        )
        return Bundle(
            tokenizer=for_decoding(self.tokenizer, dtype=convolution).to(device),
            world_model=for_imagining(self.world_model, dtype=matmul).to(device),
            controls=self.controls,
            state_reader=None if self.state_reader is None else self.state_reader.to(device),
            object_reader=None if self.object_reader is None else self.object_reader.to(device),
        )

    def read_objects(
        self, rgb: Int[Tensor, "b n"], depth: Int[Tensor, "b n"] | None
    ) -> Float[np.ndarray, "b o"] | None:
        """Positions of the objects in some frames; None where the arm model takes none.

        Args:
            rgb: tokens of all views of the frames, -1 in views that are missing.
            depth: the same of depth, where there is any.
        """
        if self.object_reader is None:
            return None
        kinds = [rgb] if depth is None else [rgb, depth]
        device = self.tokenizer.device
        # One by one: equal frames must read equal to the last bit, wherever they lie in a batch.
        alone = zip(*(one.to(device).split(1) for one in kinds), strict=True)
        return np.concatenate([self.object_reader.read(*frame) for frame in alone])

    @torch.no_grad()
    def read_states(self, rgb: UInt8[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b s"]:
        """The robot's states in some frames, stored units, from their pixels alone.

        Args:
            rgb: frames, all views below each other.

        Raises:
            UserError: the bundle has no state reader.
        """
        if self.state_reader is None:
            raise UserError(
                "reading the robot's state off a picture needs the bundle's state reader; train "
                "one (`roboscape train state-reader`) and put it into the bundle's folder "
                f"`{STATE_READER}`"
            )
        codes = self.tokenizer.encode_rgb(torch.from_numpy(rgb).to(self.tokenizer.device))
        return self.state_reader.read(codes)

    def with_decoder(self, name: str | Path) -> "Bundle":
        """The same bundle, whose frames another tokenizer's decoder shows.

        Args:
            name: a tokenizer of the same codes, as `roboscape train decoder` leaves: the name of a
                bundled one (`lift-light-decoder`), a folder or a hub name.

        Raises:
            UserError: its encoder makes other codes.
        """
        other = Tokenizer.from_pretrained(resolve(name))
        own, found = (one.encoder.state_dict() for one in (self.tokenizer, other))
        if own.keys() != found.keys() or not all(torch.equal(own[key], found[key]) for key in own):
            raise UserError(
                f"expected a decoder of this bundle's codes, and the encoder of {name} is another; "
                "teach one with `roboscape train decoder --checkpoint` and this bundle"
            )
        # Another decoder takes another time, so threads are measured anew.
        return replace(self, tokenizer=other, threads=FastestThreads.one_or_all())

    def save_pretrained(self, folder: Path) -> None:
        """Write the tokenizer, the world model, what makes control signals, and a model card."""
        self.tokenizer.save_pretrained(folder / TOKENIZER)
        self.world_model.save_pretrained(folder / WORLD_MODEL)
        self.controls.save(folder)
        if self.state_reader is not None:
            self.state_reader.save_pretrained(folder / STATE_READER)
        if self.object_reader is not None:
            self.object_reader.save_pretrained(folder / OBJECT_READER)
        if not (folder / CARD).exists():
            with atomic_path(folder / CARD) as temporary:
                temporary.write_text(model_card(self))

    @classmethod
    def from_pretrained(cls, name: str | Path, *, decoder: str | Path = "") -> "Bundle":
        """Load from a folder or a hub repository, ready to imagine.

        Args:
            name: of the bundle.
            decoder: of a tokenizer whose decoder shows its frames (`with_decoder`); its own where
                empty.

        Raises:
            UserError: there is no such bundle or tokenizer, or the tokenizer makes other codes.
        """
        folder = resolve(name)
        bundle = cls(
            tokenizer=Tokenizer.from_pretrained(folder, subfolder=TOKENIZER),
            world_model=WorldModel.from_pretrained(folder, subfolder=WORLD_MODEL),
            controls=ControlEncoder.load(folder),
            state_reader=reader_of(folder, STATE_READER),
            object_reader=reader_of(folder, OBJECT_READER),
        )
        return bundle.with_decoder(decoder) if decoder else bundle


def reader_of(folder: Path, name: str) -> StateReader | None:
    """The state reader or object reader of a bundle's folder, if it has one.

    Raises:
        UserError: it reads the tokens of another encoder.
    """
    if not (folder / name).is_dir():
        return None
    reader = StateReader.from_pretrained(folder / name)
    if reader.config.encoder_sha256 != encoder_sha256(folder / TOKENIZER):
        raise UserError(
            f"{folder / name} was trained on tokens of another encoder than "
            f"{folder / TOKENIZER}; train it again on a store of this one (`roboscape train "
            "state-reader`), or remove it"
        )
    return reader


def model_card(bundle: Bundle) -> str:
    """The description of a bundle's contents, for people."""
    model, controls = bundle.world_model, bundle.controls
    counts = model.parameter_counts()
    convention, shape = controls.convention, model.config
    actions = zip(convention.names, convention.units, strict=True)
    return f"""---
library_name: roboscape
tags: [world-model, robotics]
---
# A learned simulator of a robot

A [RoboScape](https://arxiv.org/abs/2506.23135) world model and its tokenizer.

| | |
|---|---|
| World model | {shape.num_layers} blocks, width {shape.width}, {shape.heads} heads |
| Branches, objective | {shape.branches}, {shape.objective} |
| Parameters | one branch {counts["one branch"] / 1e6:.1f}M, all {counts["total"] / 1e6:.1f}M |
| Tokens | {shape.tokens_per_frame} a frame, {shape.code_bits} bits each |
| Cameras | {", ".join(shape.views) or "one"} |
| Images | {bundle.tokenizer.config.image_size} pixels square |
| Frames a second | {convention.action_hz / controls.stride:g} |
| Actions | {convention.mode}, {convention.action_hz:g} Hz: \
{", ".join(f"{name} ({unit})" for name, unit in actions)} |
| Gripper | {convention.gripper} |

```python
from roboscape.rollout.bundle import Bundle

bundle = Bundle.from_pretrained("path/to/this/folder")
```
"""
