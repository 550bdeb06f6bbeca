"""Does the model know where the arm is, and what could its control signal tell it?

    python -m studies.long_horizon.arm_place

Two tables. The first: next frames after true pasts, as predicted, and moved along the optical flow
to the true frame; what the flow repairs was in the wrong place. The second: how far the hand's true
way lies from the sum of the commands, from the best linear map of that sum, the last commands and
the first state, and from the checkpoint's imagined proprioception.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8

from roboscape.annotate.flow.dis import DenseInverseSearch
from roboscape.annotate.flow.motion import follow
from roboscape.controls.proprioception import Proprioception
from roboscape.controls.signals import commanded_motion
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.appearance import psnr_db
from roboscape.rollout.bundle import Bundle
from roboscape.tokenizer.codes import join_factors
from roboscape.tokens.store import TokenStore
from roboscape.world_model.batches import tokens_of
from roboscape.world_model.config import RGB
from roboscape.world_model.objective import next_frame_inputs
from studies.pages import as_markdown, fill

POSITION = slice(0, 3)
"""Numbers of a Lift state that are the hand's place."""
FRAMES = (1, 2, 4, 8, 15)
LAST = 4
"""Commands that a control signal holds one by one."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    checkpoint: str = "lift"
    tokens: Path = Path("data/lift_tokens")
    """Store that holds the validation split's tokens."""
    train: Path = Path("data/lift_train")
    validation: Path = Path("data/lift_validation")
    clips: int = 24
    """Validation episodes whose frames are predicted."""
    episodes: int = 300
    """Training episodes that the linear map is fitted to."""
    steps: tuple[int, ...] = (4, 16, 32, 60)
    """Control steps after which the hand's way is looked at."""
    page: Path | None = None
    """Page with a place for the second table."""
    only: Literal["predictions", "commands"] | None = None
    """One of the two tables."""


def moved(
    images: UInt8[np.ndarray, "b h w 3"], *, onto: UInt8[np.ndarray, "b h w 3"]
) -> Float[np.ndarray, "b h w 3"]:
    """Images, every pixel taken from where dense optical flow finds it."""
    flows = DenseInverseSearch().flow(onto, images)
    return np.stack(
        [
            np.stack([follow(channel, flow) for channel in np.moveaxis(image, -1, 0)], axis=-1)
            for image, flow in zip(images, flows, strict=True)
        ]
    )


@torch.no_grad()
def predictions(config: Benchmark) -> str:
    """PSNR of next frames after true ones, means over clips."""
    bundle = Bundle.from_pretrained(config.checkpoint)
    store, dataset = TokenStore(config.tokens), LeRobotDataset(config.validation)
    model, stride = bundle.world_model, bundle.controls.stride
    shape = {"length": model.config.max_frames, "stride": stride}
    table = store.clips("validation", **shape)
    clips = store.batch(table.first_of_episodes()[: config.clips], split="validation", **shape)
    logits = model.frame_logits(
        model.features(next_frame_inputs(tokens_of(clips, modalities=2), clips.controls))[RGB],
        modality=RGB,
    )
    codes = join_factors(logits.argmax(dim=-1), code_bits=model.config.code_bits)
    camera, rows = dataset.spec.cameras[0].name, []
    for episode in range(len(codes)):
        span = slice(0, stride * (model.config.max_frames - 1) + 1)
        truth = dataset.frames(episode, camera, span)[::stride]
        shown = torch.cat([codes[episode].int(), clips.rgb[episode].int()])
        predicted, decoded = np.split(
            bundle.tokenizer.decode_rgb(shown).numpy(), [len(codes[episode])]
        )
        shown_at = np.array(FRAMES)
        images = predicted[shown_at - 1]
        better = moved(images, onto=truth[shown_at]).round().astype(np.uint8)
        forms = np.stack([decoded[shown_at - 1], images, better, decoded[shown_at]])
        rows.append(psnr_db(np.broadcast_to(truth[shown_at], forms.shape), forms))
    means = np.mean(rows, axis=0).T
    header = ["frame", "the frame before", "predicted", "moved along the flow", "ceiling"]
    lines = [[f, *(f"{x:.1f}" for x in line)] for f, line in zip(FRAMES, means, strict=True)]
    return as_markdown(header, lines)


def commands(config: Benchmark) -> str:
    """Millimetres (standard deviation) between the hand's way and what commands say of it."""
    train, validation = LeRobotDataset(config.train), LeRobotDataset(config.validation)
    proprioception = Bundle.from_pretrained(config.checkpoint).controls.proprioception
    lines = []
    for steps in config.steps:
        known, way = examples(train, range(config.episodes), steps=steps, every=5)
        held_out, truth = examples(validation, range(validation.num_episodes), steps=steps)
        spreads = [truth, truth - held_out[:, POSITION]]
        # Where no training episode is that long there is nothing to fit.
        fitted = np.linalg.lstsq(known, way, rcond=None)[0] if len(known) else None
        spreads.append(None if fitted is None else truth - held_out @ fitted)
        if proprioception:
            spreads.append(truth - imagined(proprioception, validation, steps=steps))
        lines.append([steps, *map(in_mm, spreads)])
    header = ["control steps", "the way itself", "summed commands", "linear map", "imagined"]
    return as_markdown(header[: len(lines[0])], lines)


def imagined(
    model: Proprioception, dataset: LeRobotDataset, *, steps: int
) -> Float[np.ndarray, "n 3"]:
    """The hand's way in so many steps from the first row on, as proprioception is imagined."""
    episodes = range(dataset.num_episodes)
    first = np.stack([dataset.state(episode)[0] for episode in episodes])
    actions = np.stack([dataset.actions(episode)[:steps] for episode in episodes])
    return (model.imagine(actions, first)[:, -1] - first)[:, POSITION]


def examples(
    dataset: LeRobotDataset, episodes: range, *, steps: int, every: int = 0
) -> tuple[Float[np.ndarray, "n f"], Float[np.ndarray, "n 3"]]:
    """What a control signal holds, and the hand's way in so many steps from a row on.

    Rows from the first on, `every` so many; the first alone where that is 0.
    """
    known, ways = [], []
    for episode in episodes:
        actions, state = dataset.actions(episode), dataset.state(episode)
        for start in range(0, len(actions) - steps if every else 1, every or 1):
            used = actions[start : start + steps]
            still = np.zeros((1, used.shape[1]))
            motion = commanded_motion(used[None], still, convention=dataset.spec.action, stride=1)
            summed = motion[0, -1]
            known.append(np.concatenate([summed, used[-LAST:].ravel(), state[start], [1.0]]))
            ways.append(state[start + steps, POSITION] - state[start, POSITION])
    return np.array(known), np.array(ways)


def in_mm(errors_m: Float[np.ndarray, "n 3"] | None) -> str:
    """A cell: standard deviations, millimetres."""
    if errors_m is None:
        return "–"
    return ", ".join(f"{1000 * value:.0f}" for value in errors_m.std(axis=0))


def main() -> None:
    """Measure, and print both tables."""
    config = tyro.cli(Benchmark, description=__doc__)
    if config.only != "commands":
        sys.stdout.write(f"PSNR, dB, {config.clips} clips\n\n{predictions(config)}\n\n")
    if config.only == "predictions":
        return
    table = commands(config)
    if config.page:
        fill(config.page, "arm place", table)
    sys.stdout.write(f"x, y, z, mm\n\n{table}\n")


if __name__ == "__main__":
    main()
