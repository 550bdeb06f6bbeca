"""Set and measure thresholds of plausibility: `roboscape calibrate`."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from roboscape.clips.split import episodes_of
from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.dataset.frame_actions import FrameEpisode, frame_episode
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import cameras_of
from roboscape.simulators.learned import LearnedSimulator
from roboscape.synthesis.breaking import BREAKING
from roboscape.synthesis.imagine import imagine_plans
from roboscape.synthesis.plan import Demonstrations, Replay
from roboscape.synthesis.plausibility import SCORES, Thresholds, plausibility
from roboscape.synthesis.reach import ArmRange
from roboscape.synthesis.thresholds import (
    Detection,
    detection,
    joint_score,
    limits_of,
    roc_curve,
    score_table,
)

log = logging.getLogger(__name__)

HOT = "temperature 3"
RECORDED = "recorded"


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Set the thresholds by which `synthesize` keeps implausible episodes apart, and measure them.

    Recordings are imagined with their own actions: proper rollouts, half of which set thresholds
    that keep a given share of them. The other half is broken on purpose; how much of each kind is
    found is written beside the thresholds, with a picture of the ROC curves.
    """

    checkpoint: str
    """Bundle: a folder, a hub repository, or one that comes with the package."""
    dataset: Path
    """Recordings of the robot, at their native rate."""
    output: Path
    """Folder for `plausibility.json` (thresholds), `detection.json` and `roc.png`."""
    split: Split = "validation"
    """Which episodes."""
    states: Path | None = None
    """Recordings whose states give the arm's range: those of its training; the same ones where
    not given."""
    episodes: int = 96
    """Number of episodes, the first ones; half of them set thresholds."""
    frames: int = 25
    """Frames of each, the given one included."""
    kept: float = 0.95
    """Share of proper rollouts that the thresholds keep."""
    sampling: Sampling = field(default_factory=lambda: GREEDY)
    """How tokens are chosen in proper rollouts."""
    worlds: int = 16
    """Episodes imagined at a time."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The things that rollouts are made and read with."""

    bundle: Bundle
    cameras: tuple[str, ...]
    dataset: LeRobotDataset
    episodes: list[int]
    range: ArmRange


def run(config: Calibrate) -> Thresholds:
    """Measure, write, and return the thresholds.

    Raises:
        ValueError: fewer than 20 episodes of the split, or recordings of another robot.
    """
    place = open_workplace(config)
    proper = rollouts(place, config, place.episodes, sampling=config.sampling)
    return measure(place, config, proper)


def measure(place: Workplace, config: Calibrate, proper: Sequence[FrameEpisode]) -> Thresholds:
    """Thresholds from every second proper rollout, measured on the others, written."""
    tables = {"proper": score(place, config, proper)}
    half = len(proper) // 2
    limits, kept = limits_of(tables["proper"][::2], kept=config.kept)
    held_out = proper[1::2]
    broken = {name: damage(held_out) for name, damage in BREAKING.items()}
    hot = Sampling(temperature=3.0)
    broken[HOT] = rollouts(place, config, place.episodes[1::2], sampling=hot)
    broken[RECORDED] = [recorded(place, config, number) for number in place.episodes[1::2]]
    for name, episodes in broken.items():
        tables[name] = score(place, config, episodes)
    reference = tables["proper"][1::2]
    found = {name: detection(reference, tables[name], limits=limits) for name in broken}
    found["proper"] = detection(reference, reference, limits=limits)
    thresholds = Thresholds(
        checkpoint=checkpoint_sha256(config.checkpoint),
        largest=dict(zip(SCORES, limits.tolist(), strict=True)),
        range=place.range,
        kept=float((reference <= limits).all(axis=1).mean()),
        dataset=str(config.dataset),
    )
    write_json(config.output / "plausibility.json", asdict(thresholds))
    about = {"episodes": half, "kept_of_those_that_set_it": kept, "command": asdict(config)}
    content = {name: asdict(one) for name, one in found.items()}
    write_json(config.output / "detection.json", {**about, "detection": content})
    draw_roc(
        {name: table for name, table in tables.items() if name != "proper"},
        reference,
        tables["proper"][::2],
        path=config.output / "roc.png",
    )
    log.info("%s", table_of(found))
    return thresholds


def open_workplace(config: Calibrate) -> Workplace:
    """The checkpoint and the recordings.

    Raises:
        ValueError: too few episodes.
    """
    dataset = LeRobotDataset(config.dataset)
    chosen = episodes_of(dataset, config.split)[: config.episodes]
    if len(chosen) < 20:
        raise UserError(
            f"thresholds need 20 episodes or more, and {dataset.root} has {len(chosen)} for "
            f"{config.split}; collect more, or give another --split"
        )
    states = dataset if config.states is None else LeRobotDataset(config.states)
    numbers = range(states.num_episodes)
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(Compute(device=config.device))
    return Workplace(
        bundle=bundle,
        cameras=cameras_of(bundle, dataset),
        dataset=dataset,
        episodes=chosen,
        range=ArmRange.of(np.concatenate([states.state(number) for number in numbers])),
    )


def rollouts(
    place: Workplace, config: Calibrate, episodes: list[int], *, sampling: Sampling
) -> list[FrameEpisode]:
    """Episodes imagined from their first frames under their own actions."""
    simulator = LearnedSimulator(
        place.bundle, batch=config.worlds, cameras=place.cameras, sampling=sampling
    )
    known = Demonstrations(place.dataset, episodes)
    rows = config.frames * simulator.spec.stride
    source = Replay(demonstrations=known, rows=rows, repeats=False)
    plans = [source.plan(number, number=number) for number in range(len(known))]
    found: list[FrameEpisode] = []
    with progress(len(plans), f"imagining at temperature {sampling.temperature:g}") as bar:
        for first in range(0, len(plans), config.worlds):
            some = plans[first : first + config.worlds]
            imagined = imagine_plans(simulator, some, judge=None, frames=config.frames)
            found += [one.episode for one in imagined]
            bar.update(len(some))
    simulator.close()
    return found


def recorded(place: Workplace, config: Calibrate, number: int) -> FrameEpisode:
    """An episode as it was recorded, of the rollouts' length."""
    stride = place.bundle.controls.stride
    found = frame_episode(place.dataset, number, stride=stride, cameras=place.cameras)
    kept = slice(0, config.frames)
    return FrameEpisode(
        **{
            **vars(found),
            "rgb": {name: frames[kept] for name, frames in found.rgb.items()},
            "depth_m": {name: frames[kept] for name, frames in found.depth_m.items()},
            "state": found.state[kept],
            "actions": found.actions[kept],
            "reward": found.reward[kept],
        }
    )


def score(
    place: Workplace, config: Calibrate, episodes: Sequence[FrameEpisode]
) -> Float[np.ndarray, "e k"]:
    """The scores of some episodes, batch by batch."""
    found = []
    for first in range(0, len(episodes), config.worlds):
        some = episodes[first : first + config.worlds]
        found += plausibility(place.bundle, some, state_range=place.range, cameras=place.cameras)
    return score_table(found)


def table_of(found: dict[str, Detection]) -> str:
    """The areas under the ROC curves as a table in Markdown."""
    head = ["| rollouts | set apart | " + " | ".join(SCORES) + " |"]
    head.append("|---|---|" + "---|" * len(SCORES))
    rows = [
        f"| {name} | {100 * one.found:.0f} % | "
        + " | ".join(f"{one.area[score]:.2f}" for score in SCORES)
        + " |"
        for name, one in found.items()
    ]
    return "\n".join([*head, *rows])


def draw_roc(
    tables: dict[str, Float[np.ndarray, "e k"]],
    reference: Float[np.ndarray, "e k"],
    setting: Float[np.ndarray, "e k"],
    *,
    path: Path,
) -> None:
    """ROC curves of all scores together, one a breakage, as a PNG.

    Args:
        tables: Scores of broken rollouts, by kind.
        reference: Of proper ones that set no threshold.
        setting: Of proper ones that did; their order makes scores comparable.
        path: Of the picture.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 4.2), dpi=120)
    proper = joint_score(reference, setting)
    for name, table in tables.items():
        alarms, found = roc_curve(proper, joint_score(table, setting))
        axes.plot(alarms, found, label=name, linestyle="--" if name == RECORDED else "-")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set_xlabel("proper rollouts set apart")
    axes.set_ylabel("broken rollouts set apart")
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    pyplot.close(figure)
