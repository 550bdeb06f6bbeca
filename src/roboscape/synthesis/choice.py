"""The choice of a source of actions by name."""

from dataclasses import dataclass, field
from typing import Literal

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import FIRST_TEST_SEED, Split
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.protocol import EpisodeStart, FrameStart
from roboscape.simulators.starts import TrueStarts
from roboscape.synthesis.perturb import Perturb, Perturbation
from roboscape.synthesis.plan import ActionSource, Demonstrations, Plan, Replay, arm_of
from roboscape.synthesis.reach import Reach
from roboscape.synthesis.recombine import Recombine
from roboscape.synthesis.starts import StartOfPlan, dataset_starts, seed_starts

Actions = Literal["replay", "perturb", "recombine", "policy"]


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """Which demonstrations are used, from which starts, and how their actions are changed."""

    split: Split = "train"
    """Demonstrations and starts are of this split of the dataset."""
    successes: bool = True
    """Whether only demonstrations that succeed are used."""
    demonstrations: int | None = None
    """So many demonstrations, the first ones; all where not given."""
    starts: Literal["dataset", "seeds"] = "dataset"
    """Starts of `recombine` and `policy`: first rows of the dataset's episodes, or the scene that
    the true simulator places for the episode's own seed (needs MuJoCo; its first frame alone is
    used)."""
    task: str = "Lift"
    """The true simulator's name of the task, for `seeds`."""
    perturbation: Perturbation = field(default_factory=Perturbation)
    """How far `perturb` changes actions."""


@dataclass(frozen=True, kw_only=True)
class PolicySource:
    """Starts for a policy that acts in the imagined worlds."""

    start_of: StartOfPlan

    def plan(self, seed: int, *, number: int) -> Plan:
        """A plan without actions; see the protocol."""
        start, split, task, about = self.start_of(seed)
        return Plan(
            seed=seed,
            start=start,
            actions=None,
            split=split,
            task=task,
            origin={"source": "policy", "number": number, **about},
        )


def open_source(
    choice: SourceChoice,
    *,
    actions: Actions,
    dataset: LeRobotDataset,
    bundle: Bundle,
    cameras: tuple[str, ...],
    rows: int,
    draws: bool,
) -> ActionSource:
    """The source of actions that a run asks for.

    Args:
        choice: Which demonstrations and starts.
        actions: Kind of source.
        dataset: Of the demonstrations.
        bundle: The checkpoint that imagines.
        cameras: Its views, by the dataset's names.
        rows: Native rows of an imagined episode.
        draws: Whether tokens are drawn, so that equal plans have unequal outcomes.

    Raises:
        ValueError: no demonstrations, no arm model where one is needed, or starts of seeds for a
            checkpoint of several cameras.
    """
    if actions == "policy":
        return PolicySource(start_of=starts_of(choice, dataset, bundle, cameras))
    known = Demonstrations.of(dataset, split=choice.split, successes=choice.successes)
    known = Demonstrations(dataset, known.episodes[: choice.demonstrations])
    if actions == "replay":
        return Replay(demonstrations=known, rows=rows, repeats=draws)
    reach = Reach.of(arm_of(bundle.controls.proprioception, source=actions))
    if actions == "perturb":
        return Perturb(known, reach, settings=choice.perturbation, rows=rows)
    return Recombine(
        known,
        reach,
        start_of=starts_of(choice, dataset, bundle, cameras),
        camera=cameras[0],
        rows=rows,
        most_excess=choice.perturbation.reach,
    )


def starts_of(
    choice: SourceChoice, dataset: LeRobotDataset, bundle: Bundle, cameras: tuple[str, ...]
) -> StartOfPlan:
    """The starts of imagined episodes."""
    if choice.starts == "dataset":
        return dataset_starts(dataset, split=choice.split)
    if len(cameras) != 1:
        raise UserError(
            "starts of seeds show one camera, and this checkpoint sees "
            f"{', '.join(cameras)}; use --source.starts dataset"
        )
    side = bundle.tokenizer.config.image_size
    placed = seed_starts(TrueStarts(choice.task, cameras=cameras, image_size=side))

    def start_of(seed: int) -> tuple[EpisodeStart | FrameStart, Split, str, dict]:
        if seed >= FIRST_TEST_SEED:
            raise UserError(
                f"seed {seed} is a test scene ({FIRST_TEST_SEED} and above), which nothing may be "
                "trained on; choose a --seed below"
            )
        return placed(seed)

    return start_of
