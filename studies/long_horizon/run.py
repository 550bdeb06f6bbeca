"""How well a long rollout holds: imagined frames 1 to 200 of long Lift episodes against the truth.

    roboscape collect lift --output data/lift_long_test --episodes 16 --seed 950000 --horizon 808
    python -m studies.long_horizon.run data/lift_long_test --page docs/long-horizon.md \
        --chart docs/media/long_horizon.svg --frames docs/media/long_horizon_frames.jpg

Every episode is imagined from its first frame and its recorded actions alone. Compared are the
still first frame (floor), the recording through the tokenizer (ceiling), and several ways to
imagine: tokens taken or drawn, one pass a frame or two, and, to tell causes apart, rollouts that
begin anew every 15 frames from their own last frame, given the recorded place of the arm.
`--checkpoints name=folder name=folder` compares trainings.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.core.runs import command_line
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.clips import ClipSet, choose_clips
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.rollout.videos import (
    VideoCodes,
    Videos,
    decode_videos,
)
from roboscape.sources.saving import check_same_settings
from studies.long_horizon.page import write_page
from studies.long_horizon.pictures import FRAMES_SHOWN, Strip, write_chart, write_strip
from studies.long_horizon.rollouts import VARIANTS, Batch, imagine_variant
from studies.long_horizon.scores import (
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

TOKENS = "rgb_codes"
"""Beside the scores of what has tokens: those of its RGB frames."""


@dataclass(frozen=True, kw_only=True)
class LongHorizon:
    """What to measure."""

    dataset: tyro.conf.Positional[Path]
    """Long episodes: 4 control steps an imagined frame, so 801 rows or more for 200 frames."""
    checkpoints: tuple[str, ...] = ("bundled=lift",)
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
        clips = choose_clips(
            BundlePredictor(bundle).spec, dataset, horizon=config.horizon, num_clips=config.clips
        )
        settings = describe(config, clips, bundle)
        parts = config.output.with_suffix("") / name
        check_same_settings(
            parts / "settings.json", deciding(settings, checkpoint=folder), verb="measured"
        )
        found[name] = measure(bundle, clips, parts, config)
        strip = strip or typical_strip(bundle, clips, found[name], variants=config.variants)
    write_json(config.output, {"settings": settings, "curves": as_curves(found)})
    if config.page:
        write_page(config.page, found, variants=config.variants, settings=settings)
    if config.chart:
        first = found[next(iter(folders))]
        chosen = (*config.variants, FLOOR, CEILING)
        write_chart(config.chart, {name: first[name] for name in chosen})
    if config.frames and strip:
        write_strip(config.frames, strip)


def measure(bundle: Bundle, clips: ClipSet, folder: Path, config: LongHorizon) -> dict[str, Scores]:
    """Scores of all clips by subject, from files where an earlier run left some."""
    subjects = (RECORDED, FLOOR, CEILING, *config.variants)
    parts: dict[str, list[Scores]] = {name: [] for name in subjects}
    with progress(len(clips) * len(subjects), "imagining", unit="rollout") as bar:
        for numbers in clips.batches(config.batch_size):
            batch = Batch(bundle, clips, numbers)
            for name in subjects:
                file_name = f"{name.replace(' ', '_')}_{numbers.start:03d}_{numbers.stop:03d}.npz"
                path = folder / file_name
                if not path.is_file():
                    scores = score_subject(batch, name, seed=config.seed)
                    with atomic_path(path) as temporary, temporary.open("wb") as file:
                        np.savez_compressed(file, **scores)
                with np.load(path) as stored:
                    parts[name].append(dict(stored))
                bar.update(len(numbers))
    return {name: join(scores) for name, scores in parts.items()}


def score_subject(batch: Batch, name: str, *, seed: int) -> Scores:
    """Scores of the recording itself, the floor, the ceiling, or a way to imagine."""
    if name == RECORDED:
        return {"motion": np.stack([motion(rgb) for rgb in batch.truth.rgb])}
    if name == FLOOR:
        return score_shown(batch, batch.truth.frozen())
    codes = batch.codes
    if name != CEILING:
        codes = imagine_variant(batch, variant=VARIANTS[name], seed=seed)
    scores = score_shown(batch, decode_videos(batch.bundle.tokenizer, codes))
    return {**scores, TOKENS: codes.rgb.numpy()}


def score_shown(batch: Batch, shown: Videos) -> Scores:
    """Every measure of a video against the truth."""
    spec = batch.clips.dataset.spec
    return score(batch.truth, shown, nearest_m=spec.depth_min_m, farthest_m=spec.depth_max_m)


def typical_strip(
    bundle: Bundle, clips: ClipSet, subjects: dict[str, Scores], *, variants: tuple[str, ...]
) -> Strip:
    """A few frames of the clip whose mean PSNR under the first variant is the median."""
    order = np.argsort(subjects[variants[0]]["psnr"].mean(axis=1))
    clip = int(order[len(order) // 2])
    numbers = [frame for frame in FRAMES_SHOWN if frame < clips.num_frames]
    rows = {"truth": clips.videos([clip]).rgb[0, numbers]}
    tokens = torch.from_numpy(subjects[variants[0]][TOKENS][[clip]][:, numbers])
    shown = decode_videos(bundle.tokenizer, VideoCodes(rgb=tokens, depth=None))
    rows[variants[0]] = shown.rgb[0]
    info = clips.info(clip)
    about = f"the episode of median PSNR ({variants[0]}): seed {info.seed}, {info.behaviour}"
    return Strip(rows=rows, numbers=numbers, about=about)


def as_curves(found: dict[str, dict[str, Scores]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """What the chart shows, and all other curves, as plain numbers."""
    return {
        checkpoint: {
            subject: {name: curve(scores[name]) for name in MEASURES if name in scores}
            for subject, scores in subjects.items()
        }
        for checkpoint, subjects in found.items()
    }


def describe(config: LongHorizon, clips: ClipSet, bundle: Bundle) -> dict[str, Any]:
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
        "number_format": str(bundle.world_model.hidden_dtype).removeprefix("torch."),
        "command": command_line(),
        "config": asdict(config),
    }


def deciding(settings: dict[str, Any], *, checkpoint: str) -> dict[str, Any]:
    """What must be equal for an earlier run's scores to count."""
    names = ("first_seed", "number_format")
    asked = {name: str(settings["config"][name]) for name in ("dataset", "horizon", "batch_size")}
    return {
        **{name: settings[name] for name in names},
        **asked,
        "seed": settings["config"]["seed"],
        "checkpoint": checkpoint,
        "sha256": checkpoint_sha256(checkpoint),
    }


if __name__ == "__main__":
    main(tyro.cli(LongHorizon))
