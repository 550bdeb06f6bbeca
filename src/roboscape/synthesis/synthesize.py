"""Imagine episodes for a policy to learn from: `roboscape synthesize`."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from roboscape.core.config import load_config
from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.core.pretrained import resolve
from roboscape.core.progress import progress
from roboscape.core.seeding import seed_for
from roboscape.dataset.frame_actions import stacked_spec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.judge.backends import JudgeChoice, open_judge
from roboscape.judge.protocol import Judge
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.rollout.identity import Checkpoint, checkpoint_sha256
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.synthetic import MadeBy, Synthetic
from roboscape.rollout.videos import cameras_of, check_convention
from roboscape.simulators.learned import LearnedSimulator
from roboscape.sources.saving import check_same_settings
from roboscape.synthesis.choice import SourceChoice, open_source
from roboscape.synthesis.imagine import FrameActions, Imagined, imagine_plans
from roboscape.synthesis.plan import ActionSource, Plan, start_state
from roboscape.synthesis.plausibility import Thresholds, plausibility
from roboscape.synthesis.record import Judged, SyntheticDatasets

log = logging.getLogger(__name__)

SETTINGS = "synthesize.json"
THRESHOLDS = "plausibility.json"
OFF = "off"
FREE_TO_CHANGE = ("output", "episodes", "device")
"""Settings that a continued run may change; all others decide what is in the data."""


@dataclass(frozen=True, kw_only=True)
class Synthesize:
    """Imagine episodes from demonstrations and write them as a LeRobot dataset.

    A row of it is a frame of the world model, and its action all native actions up to the next one
    (`action_0_eef_x`, ...). Episodes that are not plausible go to a second dataset, `implausible`
    inside the first one's folder. `meta/synthetic.json` says how each was made and what it scored.
    """

    checkpoint: str
    """Bundle: a folder, a hub repository, or one that comes with the package."""
    dataset: Path
    """Demonstrations: recordings of the same robot at their native rate."""
    output: Path
    """Folder of the new dataset; running again continues it."""
    episodes: int
    """Number of episodes imagined, plausible or not; episode i has the seed `seed` + i."""
    seed: int = 0
    """Seed of the first episode."""
    actions: Literal["replay", "perturb", "recombine", "policy"] = "perturb"
    """Where actions come from: demonstrations as they are; perturbed in time, place and speed;
    moved to other starts by where the object lies; a policy that acts in the imagined world."""
    source: SourceChoice = field(default_factory=SourceChoice)
    """Which demonstrations, starts and changes."""
    policy: str = ""
    """The policy of `--actions policy`: the folder of a trained one, or a server's address."""
    frames: int = 25
    """Frames of an episode, the given one included."""
    worlds: int = 16
    """Episodes imagined at a time."""
    sampling: Sampling = field(default_factory=lambda: GREEDY)
    """How tokens are chosen."""
    judge: JudgeChoice = field(default_factory=JudgeChoice)
    """What says whether the task is solved."""
    plausibility: str = ""
    """Thresholds from `roboscape calibrate`; the checkpoint's own where not given; `off`: none, and
    every episode is kept."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        """Refuse episodes of nothing."""
        if min(self.episodes, self.frames - 1, self.worlds) < 1 or self.seed < 0:
            raise UserError(
                "expected episodes and worlds of 1 or more, frames of 2 or more and a seed of 0 "
                f"or more, got {self.episodes}, {self.worlds}, {self.frames} and {self.seed}"
            )
        if (self.actions == "policy") != bool(self.policy):
            raise UserError(
                "--actions policy and --policy belong together, got "
                f"{self.actions} and {self.policy or 'no policy'}"
            )


@dataclass(frozen=True, kw_only=True)
class Studio:
    """All that episodes are imagined with."""

    config: Synthesize
    bundle: Bundle
    cameras: tuple[str, ...]
    demonstrations: LeRobotDataset
    source: ActionSource
    thresholds: Thresholds | None
    policy: Any
    """A `Policy`, or None."""


def run(config: Synthesize) -> LeRobotDataset:
    """Imagine what is missing, write it, and return the dataset of plausible episodes.

    Raises:
        ValueError: demonstrations of another robot, a judge or thresholds that do not fit the
            checkpoint, an output folder of other settings, or no plausible episode.
    """
    studio = open_studio(config)
    check_same_settings(config.output / SETTINGS, deciding_settings(config), verb="imagined")
    simulator = new_simulator(studio, block=0)
    judge = open_judge(
        config.judge,
        spec=simulator.spec,
        camera=studio.cameras[0],
        object_reader=studio.bundle.object_reader,
    )
    written = SyntheticDatasets(
        config.output,
        synthetic_spec(studio, simulator),
        about=description(studio, simulator),
    )
    simulator.close()
    missing = missing_blocks(config, written.seeds | written.skipped.keys())
    done = config.episodes - sum(len(seeds) for seeds in missing.values())
    with progress(config.episodes, "imagining", initial=done, unit="episode") as bar:
        for block, seeds in missing.items():
            plans, written.skipped = planned(studio, seeds, skipped=written.skipped)
            written.add(imagined_block(studio, judge, plans, block=block) if plans else [])
            bar.update(len(seeds))
    report(written)
    if not any(one.kept for one in written.records.values()):
        raise UserError(
            f"none of {len(written.records)} episodes is plausible; {config.output}/implausible "
            "holds them with their reasons: use other actions, or thresholds of this checkpoint"
        )
    return LeRobotDataset(config.output)


def open_studio(config: Synthesize) -> Studio:
    """The checkpoint, the demonstrations, the source of actions and the thresholds."""
    demonstrations = LeRobotDataset(config.dataset)
    bundle = Bundle.from_pretrained(config.checkpoint)
    check_convention(bundle, demonstrations)
    cameras = cameras_of(bundle, demonstrations)
    policy = None
    if config.actions == "policy":
        # Policies may need packages of their own.
        from roboscape.policies.opening import open_policy

        policy = open_policy(config.policy, device=config.device)
    return Studio(
        config=config,
        bundle=bundle.for_imagining(Compute(device=config.device)),
        cameras=cameras,
        demonstrations=demonstrations,
        source=open_source(
            config.source,
            actions=config.actions,
            dataset=demonstrations,
            bundle=bundle,
            cameras=cameras,
            rows=config.frames * bundle.controls.stride,
            draws=config.sampling.temperature > 0,
        ),
        thresholds=thresholds_of(config),
        policy=policy,
    )


def thresholds_of(config: Synthesize) -> Thresholds | None:
    """The thresholds of a run; None where it wants none.

    Raises:
        ValueError: there are none, or they are of another checkpoint.
    """
    if config.plausibility == OFF:
        return None
    own = resolve(config.checkpoint) / THRESHOLDS
    path = Path(config.plausibility) if config.plausibility else own
    path = path / THRESHOLDS if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"expected thresholds of plausibility at {path}, found none; make them with `roboscape "
            f"calibrate --checkpoint {config.checkpoint} --dataset RECORDINGS --output FOLDER` and "
            "give the folder to --plausibility, or keep everything with --plausibility off"
        )
    found = load_config(Thresholds, path)
    if found.checkpoint != checkpoint_sha256(config.checkpoint):
        raise UserError(
            f"the thresholds of {path} are of another checkpoint than {config.checkpoint}; its "
            "scores mean something else: run `roboscape calibrate` for this one"
        )
    return found


def new_simulator(studio: Studio, *, block: int) -> LearnedSimulator:
    """Worlds for one block, whose draws depend on the run's seed and the block alone."""
    config = studio.config
    return LearnedSimulator(
        studio.bundle,
        batch=config.worlds,
        cameras=studio.cameras,
        sampling=config.sampling,
        seed=seed_for(config.seed, block),
        task=studio.demonstrations.episode_info(0).task,
    )


def missing_blocks(config: Synthesize, there: set[int]) -> dict[int, list[int]]:
    """Seeds by block, of blocks of which an episode is missing.

    A block is imagined whole, with the same worlds beside each other, also where only some of its
    episodes are missing: products of another batch round differently.
    """
    blocks: dict[int, list[int]] = {}
    for block in range(-(-config.episodes // config.worlds)):
        first = config.seed + block * config.worlds
        last = min(first + config.worlds, config.seed + config.episodes)
        seeds = list(range(first, last))
        if not there.issuperset(seeds):
            blocks[block] = seeds
    return blocks


def planned(
    studio: Studio, seeds: list[int], *, skipped: dict[int, str]
) -> tuple[list[Plan], dict[int, str]]:
    """Plans of a block, and why there is none for some seeds, added to what was skipped before.

    Raises:
        ValueError: there is no plan for any seed of the run's first block.
    """
    plans, skipped = [], dict(skipped)
    for seed in seeds:
        try:
            plans.append(studio.source.plan(seed, number=seed - studio.config.seed))
        except UserError as error:
            skipped[seed] = str(error)
            if len(skipped) == len(seeds) and not plans and seeds[0] == studio.config.seed:
                raise
    return plans, skipped


def imagined_block(studio: Studio, judge: Judge, plans: list[Plan], *, block: int) -> list[Judged]:
    """The episodes of one block, with their scores."""
    config = studio.config
    simulator = new_simulator(studio, block=block)
    imagined = imagine_plans(
        simulator,
        plans,
        judge=judge,
        frames=config.frames,
        policy=acting_policy(studio, simulator, [plan.seed for plan in plans]),
    )
    simulator.close()
    return list(scored(studio, imagined))


def acting_policy(
    studio: Studio, simulator: LearnedSimulator, seeds: list[int]
) -> FrameActions | None:
    """The policy in the worlds of a block; None where actions are planned."""
    if studio.policy is None:
        return None
    from roboscape.synthesis.policy import PolicyActions

    spare = [seeds[-1]] * (simulator.batch - len(seeds))
    return PolicyActions(studio.policy, simulator.spec, seeds=[*seeds, *spare])


def scored(studio: Studio, imagined: list[Imagined]) -> Iterator[Judged]:
    """Episodes with their scores and the reasons that set them apart."""
    limits = studio.thresholds
    if limits is None:
        yield from (Judged(imagined=one, scores=None) for one in imagined)
        return
    scores = plausibility(
        studio.bundle,
        [one.episode for one in imagined],
        state_range=limits.range,
        cameras=studio.cameras,
        # A checkpoint without an arm model imagines no states.
        first_states=[start_state(one.plan.start) for one in imagined],
    )
    for one, found in zip(imagined, scores, strict=True):
        yield Judged(imagined=one, scores=found, reasons=limits.reasons(found))


def synthetic_spec(studio: Studio, simulator: LearnedSimulator) -> DatasetSpec:
    """The specification of the new dataset: the demonstrations', at the model's rate."""
    spec, known = studio.demonstrations.spec, simulator.spec
    has_depth = studio.bundle.world_model.config.modalities > 1
    cameras = tuple(
        replace(camera, has_depth=has_depth)
        for name in studio.cameras
        for camera in spec.cameras
        if camera.name == name
    )
    stacked = stacked_spec(spec, stride=known.stride)
    return replace(
        stacked,
        cameras=cameras,
        state_names=known.state_names,
        source=f"imagined by {Path(studio.config.checkpoint).name} after {spec.source}",
    )


def description(studio: Studio, simulator: LearnedSimulator) -> Synthetic:
    """The record of the dataset, without episodes."""
    settings = json.loads(json.dumps(asdict(studio.config), default=str))
    return Synthetic(
        checkpoint=Checkpoint.of(studio.config.checkpoint),
        made_by=MadeBy(command="synthesize", settings=settings),
        details={
            "demonstrations": studio.demonstrations.spec.source,
            "frame_hz": simulator.spec.frame_hz,
            "native_actions_a_row": simulator.spec.stride,
            "thresholds": None if studio.thresholds is None else studio.thresholds.largest,
        },
    )


def deciding_settings(config: Synthesize) -> dict[str, Any]:
    """The settings that all episodes of one dataset share, as they look in JSON."""
    settings = json.loads(json.dumps(asdict(config), default=str))
    kept = {name: value for name, value in settings.items() if name not in FREE_TO_CHANGE}
    return {**kept, "checkpoint_sha256": checkpoint_sha256(config.checkpoint)}


def report(written: SyntheticDatasets) -> None:
    """Say what was made."""
    records = list(written.records.values())
    apart = [one for one in records if not one.kept]
    kept = [one for one in records if one.kept]
    log.info(
        "%s: %d plausible episodes, of which %d succeed and %d are unknown; %d kept apart, %d "
        "seeds without a plan",
        written.root,
        len(kept),
        sum(one.details["success"] is True for one in kept),
        sum(one.details["success"] is None for one in kept),
        len(apart),
        len(written.skipped),
    )
