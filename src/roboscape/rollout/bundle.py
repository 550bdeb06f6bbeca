"""What a rollout needs, in one folder or hub repository: tokenizer, world model, control signals."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.core.config import load_config, save_config
from roboscape.core.files import atomic_path
from roboscape.core.pretrained import resolve
from roboscape.dataset.records import ActionConvention
from roboscape.tokenizer.model import Tokenizer
from roboscape.world_model.model import WorldModel

TOKENIZER, WORLD_MODEL, CONTROLS, CARD = "tokenizer", "world_model", "controls.json", "README.md"


@dataclass(frozen=True, kw_only=True)
class Controls:
    """How the world model was told about actions."""

    convention: ActionConvention
    """What the numbers of an action mean."""
    stride: int
    """Native rows, and so actions, from one frame to the next."""
    mean: tuple[float, ...]
    """Of every number of a control signal, over the training clips."""
    std: tuple[float, ...]
    """Likewise; signals are divided by it."""

    def __post_init__(self) -> None:
        """Refuse statistics that cannot be used."""
        if len(self.mean) != len(self.std) or min(self.std, default=1.0) <= 0:
            raise ValueError(
                f"controls need as many means as positive standard deviations; got "
                f"{len(self.mean)} and {len(self.std)}, the smallest {min(self.std, default=0)}"
            )

    def normalize(self, signals: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Control signals as the world model takes them."""
        if signals.shape[-1] != len(self.mean):
            raise ValueError(
                f"this checkpoint expects {len(self.mean)} control numbers a frame, got "
                f"{signals.shape[-1]}; make them with its own convention and stride, from a dataset "
                "of the same robot"
            )
        mean, std = (signals.new_tensor(values) for values in (self.mean, self.std))
        return (signals - mean) / std

    @property
    def frame_hz(self) -> float:
        """Imagined frames a second."""
        return self.convention.action_hz / self.stride


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A released checkpoint."""

    tokenizer: Tokenizer
    world_model: WorldModel
    controls: Controls

    def __post_init__(self) -> None:
        """Refuse parts that were not trained for each other, as far as their sizes tell."""
        model, tokenizer = self.world_model.config, self.tokenizer.config
        for what, expected, found in (
            ("tokens a frame", model.tokens_per_frame, tokenizer.tokens_per_frame),
            ("code bits", model.code_bits, tokenizer.code_bits),
            ("control numbers", model.control_size, len(self.controls.mean)),
        ):
            if expected != found:
                raise ValueError(
                    f"the world model was trained with {expected} {what}, the bundle has {found}; "
                    "put the tokenizer and token store of its own training into the bundle"
                )

    def to(self, device: str | torch.device) -> "Bundle":
        """The same bundle on a device."""
        return Bundle(
            tokenizer=self.tokenizer.to(device),
            world_model=self.world_model.to(device),
            controls=self.controls,
        )

    def save_pretrained(self, folder: Path) -> None:
        """Write the tokenizer, the world model, `controls.json` and a model card."""
        self.tokenizer.save_pretrained(folder / TOKENIZER)
        self.world_model.save_pretrained(folder / WORLD_MODEL)
        save_config(self.controls, folder / CONTROLS)
        if not (folder / CARD).exists():
            with atomic_path(folder / CARD) as temporary:
                temporary.write_text(model_card(self))

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "Bundle":
        """Load from a folder or a hub repository, ready to imagine."""
        folder = resolve(name)
        return cls(
            tokenizer=Tokenizer.from_pretrained(folder, subfolder=TOKENIZER),
            world_model=WorldModel.from_pretrained(folder, subfolder=WORLD_MODEL),
            controls=load_config(Controls, folder / CONTROLS),
        )


def model_card(bundle: Bundle) -> str:
    """What is in a bundle, for people."""
    model, controls = bundle.world_model, bundle.controls
    counts = model.parameter_counts()
    convention = controls.convention
    return f"""---
library_name: roboscape
tags: [world-model, robotics]
---
# A learned simulator of a robot

A [RoboScape](https://arxiv.org/abs/2506.23135) world model and its tokenizer.

| | |
|---|---|
| World model | {model.config.depth} blocks, width {model.config.width}, {model.config.heads} heads, \
branches `{model.config.branches}`, objective `{model.config.objective}` |
| Parameters | {counts["one branch"] / 1e6:.1f}M in one branch, {counts["total"] / 1e6:.1f}M in all |
| Tokens | {model.config.tokens_per_frame} a frame, {model.config.code_bits} bits each |
| Images | {bundle.tokenizer.config.image_size} pixels square |
| Frames a second | {controls.frame_hz:g} |
| Actions | {convention.mode}, {convention.action_hz:g} Hz: \
{", ".join(f"{n} ({u})" for n, u in zip(convention.names, convention.units, strict=True))} |
| Gripper | {convention.gripper} |

```python
from roboscape.rollout.bundle import Bundle

bundle = Bundle.from_pretrained("path/to/this/folder")
```
"""
