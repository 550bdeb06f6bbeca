"""How near imagined frames are to the truth by the share of the given frame that stays in them.

    python benchmarks/transfer/persistence.py --checkpoint RUN/checkpoint --dataset data/mine

The share is mixed into beliefs (`rollout/persistence.py`), and for comparison into pixels.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.dataset.records import Split
from roboscape.rollout.bundle import PROBED, Bundle
from roboscape.rollout.imaginings import ImaginedClips, Imaginings, Shape
from roboscape.rollout.persistence import (
    SHARES,
    mixed_beliefs,
    reads_persistence,
    with_persistence,
)
from roboscape.rollout.train_decoder import shown_clips
from roboscape.tokenizer.losses import psnr
from roboscape.tokenizer.model import Tokenizer

HORIZONS = (1, 4, 8, 15)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure on."""

    checkpoint: str
    """Bundle whose decoder reads beliefs and the given frame."""
    dataset: Path
    """Recordings."""
    split: Split = "validation"
    """Whose episodes."""
    cameras: tuple[str, ...] = ()
    """Those of the bundle where none is named."""
    every: int = 2
    """Imagined frames from one clip's start to the next."""
    horizon: int = 15
    """Imagined frames of a clip."""


@torch.no_grad()
def shown(tokenizer: Tokenizer, clips: ImaginedClips, share: float) -> Float[Tensor, "b t 3 h w"]:
    """All frames as the decoder shows beliefs with this share."""
    beliefs = mixed_beliefs(tokenizer, clips, share)
    return torch.stack(list(shown_clips(tokenizer, clips, clips.codes, beliefs)))


def main(config: Benchmark) -> None:
    """Measure and print, one JSON object a line."""
    bundle = with_persistence(Bundle.from_pretrained(config.checkpoint), 0.0)
    bundle = bundle.for_imagining(replace(PROBED, device="cpu"))
    if not reads_persistence(bundle.tokenizer):
        raise UserError("expected a decoder that reads beliefs and the given frame")
    shape = Shape(cameras=config.cameras, horizon=config.horizon)
    imaginings = Imaginings.of(bundle, config.dataset, split=config.split, shape=shape)
    reader = imaginings.reader
    places = list(reader.places(config.split, every=config.every * reader.stride))
    clips, *_ = imaginings.imagine(places)

    def report(what: str, share: float, pictures: Tensor) -> None:
        scores = psnr(pictures.flatten(0, 1), clips.truth.flatten(0, 1))
        by_frame = scores.unflatten(0, pictures.shape[:2]).mean(dim=0)
        chosen = [frame for frame in HORIZONS if frame <= config.horizon]
        line = {
            "what": what,
            "share": share,
            "clips": len(places),
            "psnr_db": round(by_frame.mean().item(), 2),
            "by_frame_db": {frame: round(by_frame[frame - 1].item(), 2) for frame in chosen},
        }
        print(json.dumps(line), flush=True)

    still = clips.given.unsqueeze(1).expand_as(clips.truth)
    report("still picture", 1.0, still)
    plain = shown(bundle.tokenizer, clips, 0.0)
    for share in SHARES:
        report("beliefs", share, shown(bundle.tokenizer, clips, share))
        report("pixels", share, torch.lerp(plain, still, share))


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
