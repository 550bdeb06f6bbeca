"""The worlds that policies are measured in: equal starts in the true and in a learned simulator."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.judge.backends import JudgeChoice, open_judge
from roboscape.judge.protocol import Judge
from roboscape.judge.tokens import TokenJudge
from roboscape.policies.protocol import PolicySpec, reads_tokens_of
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import SeedStart, Simulator, Start
from roboscape.simulators.starts import TrueStarts
from roboscape.simulators.success import Success, TrueSuccess
from roboscape.sources.proportions import Proportions

EXPERT = Proportions(expert=1.0, noisy_expert=0.0, miss=0.0, random=0.0)
"""Episodes begin where those of an expert do."""


@dataclass(frozen=True, kw_only=True)
class WorldChoice:
    """A simulator by name, and how many worlds of it run at a time."""

    bundle: str = ""
    """A bundle whose imagined worlds are used: a bundled name or a folder; empty: true physics."""
    task: str = "Lift"
    """The true simulator's task: `Lift`, or `metaworld/` and a name; starts come from it."""
    cameras: tuple[str, ...] = ()
    """Cameras that are shown; the task's usual one where none is named."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    frame_hz: float = 5.0
    """Frames a second."""
    batch: int = 8
    """Worlds at a time."""
    device: str = AUTO
    """Of the imagined worlds: `auto`, `cpu` or `cuda`."""
    judge: JudgeChoice = field(default_factory=lambda: JudgeChoice(kind="rule"))
    """What says that imagined video shows the task solved; the true simulator says it itself."""


def true_simulator(choice: WorldChoice, *, batch: int = 1) -> MujocoSimulator:
    """The true simulator of a choice."""
    return MujocoSimulator(
        choice.task,
        batch,
        cameras=choice.cameras,
        image_size=choice.image_size,
        frame_hz=choice.frame_hz,
        proportions=EXPERT,
    )


def open_world(choice: WorldChoice) -> tuple[Simulator, Success]:
    """A simulator, and the rule that says when its task is solved.

    Raises:
        ValueError: a bundle of another action convention, rate or image size than the task's, or a
            judge that does not fit its imagined video.
    """
    if not choice.bundle:
        return true_simulator(choice, batch=choice.batch), TrueSuccess()
    if choice.judge.kind in ("rule", "tokens") and choice.task != "Lift":
        raise UserError(
            f"no rule says when imagined video shows {choice.task} solved; train a judge of it "
            "(`roboscape train judge`) and choose it (`--world.judge.kind classifier`)"
        )
    simulator = learned_simulator(choice)
    return simulator, judge_of(choice, simulator)


def judge_of(choice: WorldChoice, simulator: Simulator) -> Judge:
    """The judge of a choice, for the worlds of a simulator.

    Raises:
        ValueError: it does not fit them.
    """
    learned = isinstance(simulator, LearnedSimulator)
    reader = simulator.bundle.object_reader if learned else None
    return open_judge(choice.judge, spec=simulator.spec, object_reader=reader)


def decode_what_is_seen(simulator: Simulator, policy: PolicySpec, success: Success) -> None:
    """Let a learned simulator decode no pixels where policy and judge read tokens alone."""
    if (
        isinstance(simulator, LearnedSimulator)
        and isinstance(success, TokenJudge)
        and reads_tokens_of(policy, simulator.spec)
        and not policy.depth_cameras
    ):
        simulator.decode = "none"


def learned_simulator(choice: WorldChoice) -> LearnedSimulator:
    """The imagined worlds of a choice's bundle, which fit its task.

    Raises:
        ValueError: a bundle of another action convention, rate or image size than the task's.
    """
    bundle = Bundle.from_pretrained(choice.bundle).for_imagining(
        Compute(device=resolve_device(choice.device))
    )
    true = true_simulator(choice)
    try:
        simulator = LearnedSimulator(
            bundle,
            batch=choice.batch,
            cameras=choice.cameras or (true.spec.cameras[0].name,),
            task=true.spec.task,
        )
        if (simulator.spec.action, simulator.spec.frame_hz) != (true.spec.action, choice.frame_hz):
            raise UserError(
                f"{choice.bundle} imagines {simulator.spec.frame_hz:g} frames a second under "
                f"{simulator.spec.action}; {choice.task} shows {choice.frame_hz:g} under "
                f"{true.spec.action}. Take a bundle of this task"
            )
    finally:
        true.close()
    return simulator


def starts_of(choice: WorldChoice, seeds: Sequence[int]) -> list[Start]:
    """The starts of seeds in a simulator; equal seeds begin alike in the true and a learned one."""
    if not choice.bundle:
        return [SeedStart(seed=seed) for seed in seeds]
    true = TrueStarts(
        choice.task,
        cameras=choice.cameras,
        image_size=choice.image_size,
        proportions=EXPERT,
    )
    try:
        return [true(seed) for seed in seeds]
    finally:
        true.close()
