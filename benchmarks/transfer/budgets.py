"""Few recordings, learnt from a bundle and from nothing in equal CPU minutes.

    python benchmarks/transfer/budgets.py --dataset data/droid6 --minutes 2 10 30 \
        --leave-out 6 --output runs/budgets_droid

For every number of minutes and every episode that is left out (or all of them `--together`),
`roboscape learn` learns from the other episodes, from each of the starts: its tokenizer and world
model get as many CPU seconds, whatever they start from (`few_episodes.py`). Other episodes are for
validation, which may end a training from a bundle earlier. A model is measured on the episodes that
it has not seen; intervals (95 %) resample these. `budgets.md` and `budgets.json` are written into
the output folder.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from few_episodes import LEARNT, FewEpisodes, Learnt, learn_one

from roboscape.clips.index import FILE, IndexClips, read_index
from roboscape.clips.index import run as index_clips
from roboscape.core.config import load_config, save_config
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.runs import command_line, describe_machine, git
from roboscape.dataset.annotations import annotations_folder
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.splits import SplitChoice, SplitShares, save_splits
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.metrics import MOVING_PSNR, STILL_PSNR
from roboscape.evaluate.results import Results, Subject
from roboscape.evaluate.statistics import Estimate, estimate
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.evaluate.verdict import judge
from roboscape.pipelines.learn import SCRATCH
from roboscape.rollout.bundle import PROBED, Bundle
from roboscape.sources.saving import check_same_settings

Begin = Literal["bundle", "scratch"]


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What to learn, how long, and on what to measure it."""

    dataset: Path
    """Prepared LeRobot dataset (`roboscape prepare`); the camera of its clip index is seen."""
    output: Path
    """Folder of the runs and tables; finished trainings in it are not repeated."""
    checkpoint: str = "general"
    """Name, folder or hub name of the bundle to start from."""
    starts: tuple[Begin, ...] = ("bundle", "scratch")
    """`bundle` and `scratch`, or one of them."""
    minutes: tuple[float, ...] = (2.0, 10.0, 30.0)
    """CPU minutes of a training: tokenizer and world model together."""
    leave_out: tuple[int, ...] = ()
    """Episodes that are left out, one at a time; each one where none is named."""
    together: bool = False
    """Whether they are left out at the same time: one training instead of one each."""
    validation: tuple[int, ...] = ()
    """Episodes for validation; where none is named, the one after the one that is left out."""
    per_episode: int = 16
    """Clips of an episode at most."""
    preset: Literal["debug", "lift"] = "lift"
    """Of all trainings; the shapes are the bundle's where the start is the bundle."""
    decoder_steps: int = 300
    """Of the decoder on what the world model imagines, for both starts."""
    augmented_copies: int | None = None
    """Of every training episode; where not given, what `learn` does."""

    def __post_init__(self) -> None:
        """Refuse budgets of nothing."""
        if not self.starts or not self.minutes or min(self.minutes) <= 0:
            raise UserError(
                f"expected a start or two and --minutes above 0, got {self.starts} and "
                f"{self.minutes}"
            )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, and its figures on the episodes that it has not seen: means over their clips."""

    minutes: float
    left_out: tuple[int, ...]
    """The episodes."""
    clips: int
    learnt: Learnt
    psnr: dict[str, float]
    """Of `static`, `model` and `ceiling`, dB."""
    moving: dict[str, float]
    """The same of what moves."""
    still: dict[str, float]
    """The same of what rests."""
    gain: Estimate
    """PSNR above a still picture's, dB."""
    delta_psnr: Estimate
    """What the true actions are worth to it against random ones, dB."""


def main(config: Budgets) -> tuple[Model, ...]:
    """Learn, measure, write and print the table.

    Raises:
        UserError: the output folder holds models that learnt otherwise.
    """
    check_same_settings(config.output / "settings.json", decisive(config), verb="begun")
    episodes = config.leave_out or tuple(range(LeRobotDataset(config.dataset).num_episodes))
    folds = {
        left_out: fold_of(config, left_out)
        for left_out in ((episodes,) if config.together else ((one,) for one in episodes))
    }
    found = tuple(
        learn(config, root, left_out=left_out, minutes=minutes, start=start)
        for minutes in config.minutes
        for left_out, root in folds.items()
        for start in config.starts
    )
    write_json(
        config.output / "budgets.json",
        {
            "command": command_line(),
            "commit": git("rev-parse", "--short=12", "HEAD"),
            "machine": describe_machine(),
            "models": [asdict(one) for one in found],
        },
    )
    text = table(found)
    with atomic_path(config.output / "budgets.md") as temporary:
        temporary.write_text(text)
    print(text)
    return found


def decisive(config: Budgets) -> dict[str, Any]:
    """Settings that models of one output folder have in common; its folders' names say the rest."""
    return {
        "dataset": str(config.dataset),
        "checkpoint": config.checkpoint,
        "validation": list(config.validation),
        "preset": config.preset,
        "decoder_steps": config.decoder_steps,
        "augmented_copies": config.augmented_copies,
    }


def fold_of(config: Budgets, left_out: tuple[int, ...]) -> Path:
    """The dataset in whose splits some episodes are for test and others for validation.

    Raises:
        UserError: there are no such episodes, or none would be left to train on.
    """
    count = LeRobotDataset(config.dataset).num_episodes
    validation = config.validation or ((left_out[-1] + 1) % max(count, 1),)
    held_out = [*left_out, *validation]
    if len(set(held_out)) < len(held_out) or not set(held_out) < set(range(count)):
        raise UserError(
            f"expected some of the {count} episodes of {config.dataset} for --leave-out, others "
            f"for --validation and others to train on; got {held_out}"
        )
    root = config.output / f"recordings_{named(left_out)}"
    if root.exists():
        return root
    splits = ["train"] * count
    for names, split in ((left_out, "test"), (validation, "validation")):
        for episode in names:
            splits[episode] = split
    with atomic_path(root) as temporary:
        shutil.copytree(config.dataset, temporary)
        save_splits(temporary, SplitChoice(shares=SplitShares(), splits=tuple(splits)))
        camera = next(read_index(annotations_folder(temporary) / FILE)).camera
        index_clips(IndexClips(dataset=temporary, length=0, stride=0, camera=camera))
    return root


def named(episodes: tuple[int, ...]) -> str:
    """Episodes in the name of a folder."""
    return "_".join(map(str, episodes))


def learn(
    config: Budgets, root: Path, *, left_out: tuple[int, ...], minutes: float, start: Begin
) -> Model:
    """A model that learnt for so long; one that is there is only measured."""
    name = config.checkpoint if start == "bundle" else SCRATCH
    folder = config.output / f"{start}_{minutes:g}_{named(left_out)}"
    if not (folder / LEARNT).is_file():
        few = FewEpisodes(
            minutes=minutes,
            preset=config.preset,
            # Few episodes are too few for a model of the arm.
            proprioception_steps=0,
            decoder_steps=config.decoder_steps,
            augmented_copies=config.augmented_copies,
        )
        one = learn_one(few, root, start=start, name=name, folder=folder)
        save_config(one, folder / LEARNT)
    learnt = load_config(Learnt, folder / LEARNT)
    bundle = Bundle.from_pretrained(str(learnt.checkpoint)).for_imagining(PROBED)
    results = evaluate(
        BundlePredictor(bundle, name=name),
        LeRobotDataset(root),
        settings=EvaluationSettings(
            split="test",
            per_episode=config.per_episode,
            horizon=bundle.world_model.config.max_frames - 1,
            examples=0,
        ),
        checkpoint=str(learnt.checkpoint),
    ).results
    delta = results.row("delta_psnr@genie_random").model
    assert delta is not None, "every clip has random actions"
    return Model(
        minutes=minutes,
        left_out=left_out,
        clips=len(results.clips),
        learnt=learnt,
        psnr=means(results, "psnr"),
        moving=means(results, MOVING_PSNR),
        still=means(results, STILL_PSNR),
        gain=judge(results, training_episodes=learnt.episodes).gain,
        delta_psnr=delta.estimate,
    )


def means(results: Results, key: str) -> dict[str, float]:
    """A metric's means over clips, of all that it was measured of."""
    row = results.row(key)
    subjects: tuple[Subject, ...] = ("static", "model", "ceiling")
    return {one: found.estimate.mean for one in subjects if (found := row.of(one))}


def table(models: Sequence[Model]) -> str:
    """A line for every number of minutes and start, after a still picture's, as Markdown."""
    rows = [
        [
            *("CPU minutes", "start", "reconstruction, dB", "imagined, dB", "moving", "still"),
            *("above a still picture, dB", "ΔPSNR (random actions), dB"),
        ]
    ]
    rows.append(["---"] * len(rows[0]))
    groups: dict[tuple[float, str], list[Model]] = {}
    for one in models:
        groups.setdefault((one.minutes, one.learnt.start), []).append(one)
    first = next(iter(groups.values()))
    rows.append(["", "still picture", "–", *levels(first, "static"), "–", "–"])
    for (minutes, start), group in groups.items():
        rows.append(
            [
                *(f"{minutes:g}", start, mean([one.psnr["ceiling"] for one in group])),
                *levels(group, "model"),
                with_interval([one.gain for one in group]),
                with_interval([one.delta_psnr for one in group]),
            ]
        )
    episodes = [episode for one in first for episode in one.left_out]
    how = "each left out in turn" if len(first) > 1 else "left out"
    note = (
        f"{sum(one.clips for one in first)} clips of {len(episodes)} episodes, {how} "
        f"({', '.join(map(str, episodes))}); {first[0].learnt.episodes} episodes trained on."
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{note}\n"


def levels(models: Sequence[Model], subject: Subject) -> list[str]:
    """PSNR of the whole picture, of what moves and of what rests, dB."""
    parts = (
        [one.psnr[subject] for one in models],
        [one.moving[subject] for one in models],
        [one.still[subject] for one in models],
    )
    return [mean(part) for part in parts]


def mean(values: Sequence[float]) -> str:
    """Over episodes."""
    return f"{np.mean(values):.2f}"


def with_interval(found: Sequence[Estimate]) -> str:
    """A mean over episodes with its interval; a single episode has none."""
    whole = found[0] if len(found) == 1 else estimate(np.array([[one.mean for one in found]]))
    if whole is None:
        return "–"
    limits = f" ({whole.low:+.2f} to {whole.high:+.2f})" if whole.num_episodes > 1 else ""
    return f"**{whole.mean:+.2f}**{limits}"


if __name__ == "__main__":
    main(tyro.cli(Budgets))
