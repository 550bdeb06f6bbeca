"""How well a long rollout holds: imagined frames 1 to 200 of long Lift episodes against the truth.

    roboscape collect lift --output data/lift_long_test --episodes 24 --seed 950000 --horizon 808
    python benchmarks/long_horizon.py data/lift_long_test --page docs/long-horizon.md \
        --chart docs/media/long_horizon.svg --frames docs/media/long_horizon_frames.jpg

Every episode is imagined from its first frame and its recorded actions alone. Compared are the
still first frame (floor), the recording through the tokenizer (ceiling), and several ways to
imagine: tokens taken or drawn, one pass a frame or two, and, to tell causes apart, rollouts that
begin anew every 15 frames from their own last frame, told where the recorded arm is.
`--checkpoints name=folder name=folder` compares trainings.
"""

import hashlib
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from long_horizon_page import write_page
from long_horizon_pictures import FRAMES_SHOWN, Strip, write_chart, write_strip
from long_horizon_scores import (
    CEILING,
    FLOOR,
    MEASURES,
    RECORDED,
    Scores,
    curve,
    join,
    motion,
    score,
)
from roboscape.clips.controls import control_signals
from roboscape.core.files import atomic_path, write_json
from roboscape.core.pretrained import resolve
from roboscape.core.progress import progress
from roboscape.core.seeding import generator_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.clips import ClipSet, choose_clips
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.rollout.videos import (
    GREEDY,
    Sampling,
    VideoCodes,
    Videos,
    decode_videos,
    encode_videos,
    imagine_codes,
)
from roboscape.sources.saving import check_same_settings

TOKENS = "rgb_codes"
"""Beside the scores of what has tokens: those of its RGB frames."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to imagine."""

    sampling: Sampling = GREEDY
    frames_a_start: int | None = None
    """Begin anew after so many frames, from the last imagined one and the arm's recorded state, as
    every training clip began; None: one rollout with a sliding window."""
    largest_control: float | None = None
    """Normalised control signals are cut at this many standard deviations; None: as they are."""


VARIANTS = {
    "greedy": Variant(),
    "greedy, 2 passes": Variant(sampling=Sampling(refinement_steps=2)),
    "drawn": Variant(sampling=Sampling(temperature=1.0)),
    "controls cut at 3 σ": Variant(largest_control=3.0),
    "begun anew, recorded arm": Variant(frames_a_start=15),
}


@dataclass(frozen=True, kw_only=True)
class LongHorizon:
    """What to measure."""

    dataset: tyro.conf.Positional[Path]
    """Long episodes: 4 control steps an imagined frame, so 801 rows or more for 200 frames."""
    checkpoints: tuple[str, ...] = ("bundled=checkpoints/lift",)
    """`name=folder` of every bundle to compare; pictures show the first."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Ways to imagine; pictures show the first."""
    horizon: int = 200
    """Imagined frames."""
    clips: int | None = None
    """The first so many episodes that are long enough; all of them by default."""
    batch_size: int = 8
    """Episodes imagined together."""
    seed: int = 0
    """Of drawn tokens."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""
    output: Path = Path("runs/long_horizon.json")
    """All curves; scores of single clips lie in the folder of that name, and are not computed again
    by a run with the same settings."""
    page: Path | None = None
    """Page to write the tables into."""
    chart: Path | None = None
    """Curves, .svg."""
    frames: Path | None = None
    """Truth above imagination at a few frames, .jpg."""


def main(config: LongHorizon) -> None:
    """Measure every checkpoint, then write what was asked for."""
    dataset = LeRobotDataset(config.dataset)
    folders = dict(text.split("=", 1) for text in config.checkpoints)
    found: dict[str, dict[str, Scores]] = {}
    strip, settings = None, {}
    for name, folder in folders.items():
        bundle = Bundle.from_pretrained(folder).for_imagining(config.compute)
        clips = choose_clips(bundle, dataset, horizon=config.horizon, num_clips=config.clips)
        settings = describe(config, clips)
        parts = config.output.with_suffix("") / name
        check_same_settings(
            parts / "settings.json", deciding(settings, checkpoint=folder), verb="measured"
        )
        found[name] = measure(clips, parts, config)
        strip = strip or typical_strip(clips, found[name][config.variants[0]])
    write_json(config.output, {"settings": settings, "curves": as_curves(found)})
    if config.page:
        write_page(config.page, found, variants=config.variants, settings=settings)
    if config.chart:
        first = found[next(iter(folders))]
        chosen = (*config.variants, FLOOR, CEILING)
        write_chart(config.chart, {name: first[name] for name in chosen})
    if config.frames and strip:
        write_strip(config.frames, strip)


@dataclass(frozen=True)
class Batch:
    """Some clips, read and encoded when first asked for."""

    clips: ClipSet
    numbers: range

    @cached_property
    def truth(self) -> Videos:
        """As recorded."""
        return self.clips.videos(self.numbers)

    @cached_property
    def codes(self) -> VideoCodes:
        """The recording's tokens."""
        return encode_videos(self.clips.bundle.tokenizer, self.truth)

    def score(self, shown: Videos) -> Scores:
        """Every measure of a video against the truth."""
        spec = self.clips.dataset.spec
        return score(self.truth, shown, nearest_m=spec.depth_min_m, farthest_m=spec.depth_max_m)

    def score_subject(self, name: str, *, seed: int) -> Scores:
        """Scores of the recording itself, the floor, the ceiling, or a way to imagine."""
        if name == RECORDED:
            return {"motion": np.stack([motion(rgb) for rgb in self.truth.rgb])}
        if name == FLOOR:
            return self.score(self.truth.frozen())
        codes = self.codes
        if name != CEILING:
            codes = imagine_variant(self, variant=VARIANTS[name], seed=seed)
        scores = self.score(decode_videos(self.clips.bundle.tokenizer, codes))
        return {**scores, TOKENS: codes.rgb.numpy()}


def measure(clips: ClipSet, folder: Path, config: LongHorizon) -> dict[str, Scores]:
    """Scores of all clips by subject, from files where an earlier run left some."""
    subjects = (RECORDED, FLOOR, CEILING, *config.variants)
    parts: dict[str, list[Scores]] = {name: [] for name in subjects}
    with progress(len(clips) * len(subjects), "imagining", unit="rollout") as bar:
        for numbers in clips.batches(config.batch_size):
            batch = Batch(clips, numbers)
            for name in subjects:
                path = folder / f"{name.replace(' ', '_')}_{numbers.start:03d}.npz"
                if not path.is_file():
                    scores = batch.score_subject(name, seed=config.seed)
                    with atomic_path(path) as temporary, temporary.open("wb") as file:
                        np.savez_compressed(file, **scores)
                with np.load(path) as stored:
                    parts[name].append(dict(stored))
                bar.update(len(numbers))
    return {name: join(scores) for name, scores in parts.items()}


def imagine_variant(batch: Batch, *, variant: Variant, seed: int) -> VideoCodes:
    """The first frame's tokens followed by imagined ones, up to the end of the clips."""
    clips = batch.clips
    horizon = clips.num_frames - 1
    codes = batch.codes.map(lambda c: c[:, :1])
    generator = generator_for(seed, batch.numbers.start)
    step = variant.frames_a_start or horizon
    limit = variant.largest_control or float("inf")
    for start in range(0, horizon, step):
        piece = imagine_codes(
            clips.bundle,
            prompt=codes.map(lambda c: c[:, -1:]),
            controls=controls_from(
                clips, batch.numbers, start=start, frames=min(step, horizon - start)
            ).clamp(-limit, limit),
            sampling=variant.sampling,
            generator=generator,
        )
        codes = VideoCodes(
            rgb=torch.cat([codes.rgb, piece.rgb[:, 1:]], dim=1),
            depth=None
            if codes.depth is None or piece.depth is None
            else torch.cat([codes.depth, piece.depth[:, 1:]], dim=1),
        )
    return codes


def controls_from(
    clips: ClipSet, batch: range, *, start: int, frames: int
) -> Float[Tensor, "b t c"]:
    """Normalised control signals of a rollout from frame `start` that begins at the true state."""
    stride, controls = clips.stride, clips.bundle.controls
    signals = [
        control_signals(
            clips.actions[clip][start * stride : (start + frames) * stride],
            clips.dataset.state(clips.episodes[clip])[start * stride],
            convention=controls.convention,
            stride=stride,
        )
        for clip in batch
    ]
    return controls.normalize(torch.from_numpy(np.stack(signals)))


def typical_strip(clips: ClipSet, scores: Scores) -> Strip:
    """A few frames of the clip whose mean PSNR is the median."""
    order = np.argsort(scores["psnr"].mean(axis=1))
    clip = int(order[len(order) // 2])
    numbers = [frame for frame in FRAMES_SHOWN if frame < clips.num_frames]
    info = clips.info(clip)
    tokens = VideoCodes(rgb=torch.from_numpy(scores[TOKENS][[clip]][:, numbers]), depth=None)
    return Strip(
        truth=clips.videos([clip]).map(lambda frames: frames[:, numbers]),
        imagined=decode_videos(clips.bundle.tokenizer, tokens),
        numbers=numbers,
        about=f"the episode of median PSNR: seed {info.seed}, {info.behaviour}",
    )


def as_curves(found: dict[str, dict[str, Scores]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """What the chart shows, and all other curves, as plain numbers."""
    return {
        checkpoint: {
            subject: {name: curve(scores[name]) for name in MEASURES if name in scores}
            for subject, scores in subjects.items()
        }
        for checkpoint, subjects in found.items()
    }


def describe(config: LongHorizon, clips: ClipSet) -> dict[str, Any]:
    """What a reader of the figures has to know."""
    infos = [clips.info(clip) for clip in range(len(clips))]
    seeds = [info.seed for info in infos]
    behaviours = [info.behaviour for info in infos]
    return {
        "split": clips.split,
        "clips": len(clips),
        "first_seed": min(seeds),
        "last_seed": max(seeds),
        "behaviours": {name: behaviours.count(name) for name in sorted(set(behaviours))},
        "frame_hz": clips.dataset.spec.fps / clips.stride,
        "number_format": str(clips.bundle.world_model.hidden_dtype).removeprefix("torch."),
        "command": " ".join(["python", *sys.argv]),
        "config": asdict(config),
    }


def deciding(settings: dict[str, Any], *, checkpoint: str) -> dict[str, Any]:
    """What must be equal for an earlier run's scores to count."""
    names = ("first_seed", "last_seed", "clips", "number_format")
    asked = {name: str(settings["config"][name]) for name in ("dataset", "horizon", "batch_size")}
    weights = resolve(checkpoint) / "world_model" / "model.safetensors"
    return {
        **{name: settings[name] for name in names},
        **asked,
        "seed": settings["config"]["seed"],
        "checkpoint": checkpoint,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    main(tyro.cli(LongHorizon))
