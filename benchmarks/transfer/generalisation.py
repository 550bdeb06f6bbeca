"""How far a bundle carries: scenes as in its training, tasks and colours never seen, new tasks.

    python benchmarks/transfer/generalisation.py --checkpoint metaworld \
        --output runs/generalisation \
        --datasets data/metaworld_test data/metaworld_tasks_test data/metaworld_colours_test

measures the bundle on every dataset, beside a still picture (floor) and the true video through the
tokenizer (ceiling), told each clip's task in words and not told; 95 % intervals resample episodes.

    python benchmarks/transfer/generalisation.py --checkpoint metaworld \
        --output runs/drawer_close \
        --fine-tune drawer-close --minutes 30

collects a task of Meta-World that the bundle has not seen, lets `roboscape learn` learn it from 5,
20 and 50 episodes, from the bundle and from nothing, for as many CPU minutes, and measures all of
them on other episodes (`few_episodes.py`).

Both write `generalisation.json` and `generalisation.md` into the output folder.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from few_episodes import FewEpisodes, Learnt, learn_all

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.runs import describe_machine, git
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.appearance import Lpips
from roboscape.evaluate.clips import SplitChoice, choose_clips
from roboscape.evaluate.measure import Measurement, Plan
from roboscape.evaluate.metrics import MOVING_PSNR, all_metrics
from roboscape.evaluate.protocol import Predictor
from roboscape.evaluate.results import Row, Subject
from roboscape.evaluate.scores import ScoreKey, known_mean
from roboscape.evaluate.statistics import Estimate, estimate
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.rollout.bundle import PROBED, Bundle, Compute

Text = Literal["told", "not told", "none"]
"""Whether the model hears each clip's task in words; `none`: it is not made for that."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A metric of the table."""

    key: str
    reference: str
    title: str
    digits: int


SHOWN = (
    Shown(key="psnr", reference="raw", title="PSNR, dB ↑", digits=2),
    Shown(key=MOVING_PSNR, reference="raw", title="PSNR of what moves, dB ↑", digits=2),
    Shown(key="delta_psnr@shuffled", reference="raw", title="ΔPSNR, dB ↑", digits=2),
    Shown(key="abs_rel@metric", reference="raw", title="depth AbsRel ↓", digits=3),
    Shown(key="token_accuracy_rgb", reference="codes", title="RGB tokens right ↑", digits=3),
)
SIDES: dict[str, tuple[Subject, ...]] = {
    # Tokens of a still picture are those that its recorded frame is encoded to.
    "still picture": ("static", "static_decoded"),
    "ceiling": ("ceiling",),
}


@dataclass(frozen=True, kw_only=True)
class Generalisation:
    """What to measure."""

    checkpoint: str
    """Name, folder or hub name of a bundle."""
    output: Path
    """Folder of the tables; with `fine_tune` also of recordings and runs, which are continued."""
    datasets: tuple[Path, ...] = ()
    """LeRobot datasets, each a line or two of the table: as in training, other tasks, ..."""
    split: SplitChoice = "auto"
    """Episodes to measure; `auto` takes the most held-out split that a dataset has."""
    clips: int | None = None
    """Number of episodes, each from its first frame on; all where not given."""
    horizon: int = 15
    """Predicted frames a clip."""
    seeds: int = 1
    """Repetitions with other wrong actions, for ΔPSNR."""
    batch_size: int = 8
    """Clips predicted together."""
    fine_tune: str = ""
    """A task of Meta-World (e.g. `drawer-close`) to learn from few episodes."""
    few: Annotated[FewEpisodes, tyro.conf.arg(name="")] = field(default_factory=FewEpisodes)
    """How it is learnt."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""

    def __post_init__(self) -> None:
        """Refuse to measure nothing."""
        if not self.datasets and not self.fine_tune:
            raise UserError("give --datasets to measure on, or a task to --fine-tune to")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model on a dataset."""

    dataset: str
    model: str
    text: Text
    clips: int
    episodes: int
    first_seed: int
    scores: dict[str, dict[str, Estimate]]
    """By the metric's key, then `model`, `still picture` or `ceiling`, where there is one."""
    gain: Estimate | None = None
    """PSNR with the task told less PSNR without, of the same clips, dB."""
    learnt: Learnt | None = None
    """How the model was learnt, where it was learnt here."""


def main(config: Generalisation) -> tuple[Line, ...]:
    """Measure, write and print the table."""
    lines: list[Line] = []
    for root in config.datasets:
        lines += measure(config.checkpoint, root, config=config)
    if config.fine_tune:
        lines += measure_learnt(config)
    write_json(
        config.output / "generalisation.json",
        {
            "checkpoint": config.checkpoint,
            "commit": git("rev-parse", "--short=12", "HEAD"),
            "machine": describe_machine(),
            "horizon": config.horizon,
            "seeds": config.seeds,
            "lines": [asdict(line) for line in lines],
        },
    )
    text = table(lines)
    with atomic_path(config.output / "generalisation.md") as temporary:
        temporary.write_text(text)
    print(text)
    return tuple(lines)


def measure_learnt(config: Generalisation) -> list[Line]:
    """A new task: the bundle as it is, then what was learnt from few episodes."""
    learnt = learn_all(
        config.few, task=config.fine_tune, checkpoint=config.checkpoint, output=config.output
    )
    lines = measure(config.checkpoint, learnt.held_out, config=config)
    for one in learnt.models:
        lines += measure(str(one.checkpoint), learnt.held_out, config=config, learnt=one)
    return lines


def measure(
    checkpoint: str, root: Path, *, config: Generalisation, learnt: Learnt | None = None
) -> list[Line]:
    """A bundle on a dataset: one line, or two for one that can be told tasks."""
    bundle = Bundle.from_pretrained(checkpoint).for_imagining(config.compute)
    name = learnt.name if learnt else Path(checkpoint).name
    told = BundlePredictor(bundle, name=name)
    dataset = LeRobotDataset(root)
    if not bundle.controls.statistics.task_size:
        return [line_of(measured(told, dataset, config=config), text="none", learnt=learnt)]
    with_text = measured(told, dataset, config=config)
    without = measured(replace(told, takes_tasks=False), dataset, config=config)
    return [
        line_of(with_text, text="told", learnt=learnt, gain=gain(with_text, without)),
        line_of(without, text="not told", learnt=learnt),
    ]


def measured(subject: Predictor, dataset: LeRobotDataset, *, config: Generalisation) -> Measurement:
    """What `roboscape evaluate` measures, of the metrics that are shown."""
    clips = choose_clips(
        subject.spec,
        dataset,
        horizon=config.horizon,
        split=config.split,
        num_clips=config.clips,
    )
    every = all_metrics(
        lpips=Lpips(measure=None),
        nearest_m=dataset.spec.depth_min_m,
        farthest_m=dataset.spec.depth_max_m,
        depth_source=clips.depth,
    )
    keys = {shown.key for shown in SHOWN}
    plan = Plan(
        metrics=tuple(one for one in every if keys & {name.key for name in one.names}),
        tasks=(),
        seeds=tuple(range(config.seeds)),
        batch_size=config.batch_size,
    )
    measurement = Measurement(subject, clips, plan)
    measurement.run()
    return measurement


def line_of(
    measurement: Measurement,
    *,
    text: Text,
    learnt: Learnt | None,
    gain: Estimate | None = None,
) -> Line:
    """The table's line of a measurement."""
    clips = measurement.clips
    rows = {(row.name.key, row.reference): row for row in measurement.rows() if not row.camera}
    return Line(
        dataset=clips.dataset.root.name,
        model=measurement.subject.spec.name,
        text=text,
        clips=len(clips),
        episodes=len(set(clips.episodes)),
        first_seed=min(clips.info(clip).seed for clip in range(len(clips))),
        scores={shown.key: scores_of(rows[shown.key, shown.reference]) for shown in SHOWN},
        gain=gain,
        learnt=learnt,
    )


def scores_of(row: Row) -> dict[str, Estimate]:
    """What is known of the model, its floor and its ceiling."""
    wanted: dict[str, tuple[Subject, ...]] = {"model": ("model",), **SIDES}
    found = {side: [row.of(one) for one in subjects] for side, subjects in wanted.items()}
    return {
        side: next(one.estimate for one in scores if one)
        for side, scores in found.items()
        if any(scores)
    }


def gain(told: Measurement, untold: Measurement) -> Estimate | None:
    """What the task's text is worth, clip by clip, dB of PSNR."""
    key = ScoreKey("psnr", "raw", "model")
    one, other = (measurement.book.scores(key) for measurement in (told, untold))
    assert one is not None and other is not None
    episodes = np.array(told.clips.episodes)
    return estimate(known_mean(one - other, axis=2), episodes=episodes)


def table(lines: Sequence[Line]) -> str:
    """All lines as a Markdown table: in every cell still picture, **model** (interval), ceiling."""
    learnt = any(line.learnt for line in lines)
    header = ["episodes of", "model", *(["CPU minutes"] if learnt else []), "task", "clips"]
    rows = [header + [shown.title for shown in SHOWN] + ["told − not told, dB"]]
    rows.append(["---"] * len(rows[0]))
    for line in lines:
        minutes = f"{line.learnt.cpu_minutes:.1f}" if line.learnt else "–"
        rows.append(
            [
                line.dataset,
                line.model,
                *([minutes] if learnt else []),
                line.text,
                f"{line.clips}",
                *(cell(line.scores[shown.key], digits=shown.digits) for shown in SHOWN),
                interval(line.gain, digits=2) if line.gain else "–",
            ]
        )
    notes = "Cells: still picture · **model** (95 % interval over episodes) · tokenizer ceiling."
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{notes}\n"


def cell(scores: dict[str, Estimate], *, digits: int) -> str:
    """Floor, model and ceiling."""
    if "model" not in scores:
        return "–"
    ends = {side: f"{scores[side].mean:.{digits}f}" if side in scores else "–" for side in SIDES}
    return (
        f"{ends['still picture']} · {interval(scores['model'], digits=digits)} · {ends['ceiling']}"
    )


def interval(found: Estimate, *, digits: int) -> str:
    """A mean with its interval."""
    mean, low, high = (f"{value:.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"**{mean}** ({low} to {high})"


if __name__ == "__main__":
    main(tyro.cli(Generalisation))
