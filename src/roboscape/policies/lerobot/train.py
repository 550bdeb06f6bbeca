"""Train one of lerobot's policies by lerobot's trainer: `roboscape train policy diffusion`, ..."""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from roboscape.clips.split import episodes_of
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import read_json, write_json
from roboscape.core.runs import open_run
from roboscape.dataset.frame_actions import native_convention, stride_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.policies.demonstrations import square_cameras
from roboscape.policies.lerobot.environment import lerobot_checkpoint, lerobot_python, run_there
from roboscape.policies.lerobot.view import write_view
from roboscape.policies.protocol import PolicySpec
from roboscape.policies.remote.description import ServerDescription, description_of

log = logging.getLogger(__name__)

DESCRIPTION = "policy_spec.json"
"""File of a run that says what its policies take and give; the server reads it."""
TRAINER = "lerobot.scripts.lerobot_train"
EXECUTED_ACTIONS = 8
"""Native actions that are taken of a chunk where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class LerobotRun:
    """Train a policy of lerobot's on the successful episodes of a dataset, by its own trainer."""

    kind: ClassVar[str]
    """lerobot's name of the policy."""
    reads_task: ClassVar[bool] = False
    """Whether it reads the task in words."""
    needs_hub: ClassVar[bool] = False
    """Whether lerobot reads parts of it from the Hugging Face hub, or its cache."""

    dataset: Path
    """LeRobot dataset; the successful episodes of its training split are the demonstrations."""
    output: Path
    """Run folder; lerobot's checkpoints end in its `lerobot/checkpoints`."""
    cameras: tuple[str, ...] = ()
    """Cameras that it reads, of one image size; the dataset's first one where none is named."""
    demonstrations: int | None = None
    """At most so many demonstrations, the first ones."""
    chunk: int = 16
    """Rows of actions that it learns to give at once."""
    executed: int | None = None
    """Rows of a chunk that are taken before it is asked again; those of 8 native actions where not
    given. (An imagined dataset has several native actions a row.)"""
    steps: int = 20_000
    """Optimizer steps."""
    batch_size: int = 64
    """Samples a step."""
    save_every: int = 1000
    """Steps between checkpoints; an interrupted run continues from the last one."""
    workers: int = 2
    """Processes that decode video."""
    seed: int = 0
    """Of the weights and the order of samples."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    start: str = ""
    """Folder or hub name of a trained policy of the same kind to start from."""
    extra: tuple[str, ...] = ()
    """Further flags of lerobot-train without their dashes, e.g. `policy.crop_shape=[112,112]`; they
    win."""
    python: Path | None = None
    """Python that has lerobot; that of .venv-lerobot where not given."""

    def __post_init__(self) -> None:
        """Refuse chunks that are shorter than what is taken of them, and empty runs."""
        executed = 1 if self.executed is None else self.executed
        if not 1 <= executed <= self.chunk or self.steps < 1 or self.batch_size < 1:
            raise UserError(
                "expected 1 <= executed <= chunk, steps >= 1 and batch_size >= 1, got executed "
                f"{self.executed}, chunk {self.chunk}, steps {self.steps}, batch_size "
                f"{self.batch_size}"
            )
        if any(flag.startswith("-") or "=" not in flag for flag in self.extra):
            raise UserError(f"expected flags as name=value in extra, got {self.extra}")

    def settings(self, *, executed: int) -> dict[str, object]:
        """Flags of the policy itself, without `--policy.`, for so many rows taken of a chunk."""
        return {"chunk_size": self.chunk, "n_action_steps": executed}


@dataclass(frozen=True, kw_only=True)
class DiffusionRun(LerobotRun):
    """Train lerobot's Diffusion Policy, small enough for a CPU and without a download."""

    kind: ClassVar[str] = "diffusion"

    def settings(self, *, executed: int) -> dict[str, object]:
        """One observation, as the frames of a simulator are not as close as a recording's."""
        return {
            "n_obs_steps": 1,
            "horizon": self.chunk,
            "n_action_steps": executed,
            "drop_n_last_frames": self.chunk - executed,
            "pretrained_backbone_weights": None,
            "use_group_norm": True,
            "use_separate_rgb_encoder_per_camera": False,
            "down_dims": [64, 128, 256],
            "noise_scheduler_type": "DDIM",
            "num_inference_steps": 10,
        }


@dataclass(frozen=True, kw_only=True)
class ActRun(LerobotRun):
    """Train lerobot's ACT, small enough for a CPU and without a download."""

    kind: ClassVar[str] = "act"

    def settings(self, *, executed: int) -> dict[str, object]:
        """A narrow transformer, an untrained image network."""
        return {
            **super().settings(executed=executed),
            "pretrained_backbone_weights": None,
            "dim_model": 256,
            "dim_feedforward": 1024,
        }


@dataclass(frozen=True, kw_only=True)
class SmolVlaRun(LerobotRun):
    """Train lerobot's SmolVLA; its vision-language model comes from the hub or its cache."""

    kind: ClassVar[str] = "smolvla"
    reads_task: ClassVar[bool] = True
    needs_hub: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Pi0Run(LerobotRun):
    """Train lerobot's pi0; its vision-language model comes from the hub or its cache."""

    kind: ClassVar[str] = "pi0"
    reads_task: ClassVar[bool] = True
    needs_hub: ClassVar[bool] = True


def run(config: LerobotRun) -> Path:
    """Train what is missing, and return the folder of the last checkpoint's policy."""
    python = lerobot_python(config.python)
    dataset = LeRobotDataset(config.dataset)
    executed = executed_rows(config, dataset)
    description = describe(config, dataset, executed=executed)
    episodes = demonstrations_of(config, dataset)
    open_run(config.output, config)
    write_json(config.output / DESCRIPTION, asdict(description))
    view = config.output / "dataset"
    write_view(config.dataset, view, cameras=description.spec.cameras)
    folder = config.output / "lerobot"
    last = lerobot_checkpoint(folder)
    if last is not None and _steps_of(last) >= config.steps:
        log.info("%s has all %d steps", last, config.steps)
        return last
    if last is None and folder.exists():
        # lerobot refuses a folder that is there, and there is nothing in this one to go on from.
        shutil.rmtree(folder)
    flags = trainer_flags(config, view=view, episodes=episodes, executed=executed, last=last)
    run_there(
        python,
        [TRAINER, *flags],
        log_file=config.output / "train.log",
        offline=not config.needs_hub,
    )
    last = lerobot_checkpoint(folder)
    if last is None:
        raise UserError(f"lerobot-train ended without a checkpoint in {folder / 'checkpoints'}")
    log.info("%s is trained; serve it with `roboscape serve-policy --policy %s`", config.kind, last)
    return last


def describe(config: LerobotRun, dataset: LeRobotDataset, *, executed: int) -> ServerDescription:
    """The observations and actions of the policy that is trained, so many rows of a chunk taken.

    Raises:
        ValueError: a camera that the dataset lacks, cameras of several sizes, or no state.
    """
    cameras, image_size = square_cameras(dataset, config.cameras)
    if not dataset.spec.state_names:
        raise UserError(f"lerobot's policies read a state, and {dataset.root} has none")
    taken = executed * stride_of(dataset.spec.action)
    return description_of(
        PolicySpec(
            cameras=cameras,
            image_size=image_size,
            state_names=dataset.spec.state_names,
            frame_hz=dataset.spec.fps,
            action=native_convention(dataset.spec.action),
            chunk=taken,
            executed=taken,
            reads_task=config.reads_task,
        )
    )


def executed_rows(config: LerobotRun, dataset: LeRobotDataset) -> int:
    """Rows of a chunk that are taken before the policy is asked again.

    Raises:
        ValueError: more than a chunk has.
    """
    usual = max(1, EXECUTED_ACTIONS // stride_of(dataset.spec.action))
    rows = usual if config.executed is None else config.executed
    if rows > config.chunk:
        raise UserError(
            f"expected executed <= chunk, got {rows} and {config.chunk}; give a longer --chunk or "
            "fewer --executed"
        )
    return rows


def demonstrations_of(config: LerobotRun, dataset: LeRobotDataset) -> list[int]:
    """The episodes to learn from."""
    found = [
        episode
        for episode in episodes_of(dataset, "train")
        if dataset.episode_info(episode).success is not False
    ][: config.demonstrations]
    if not found:
        raise UserError(f"{dataset.root} has no successful episode for training")
    return found


def trainer_flags(
    config: LerobotRun, *, view: Path, episodes: list[int], executed: int, last: Path | None
) -> list[str]:
    """The flags of lerobot-train, for a new run or one that goes on."""
    if last is not None:
        # The rest is in the checkpoint's configuration.
        resumed = [f"--config_path={last / 'train_config.json'}", "--resume=true"]
        return [*resumed, f"--steps={config.steps}"]
    policy = {
        **({"path": config.start} if config.start else {"type": config.kind}),
        "device": resolve_device(config.device),
        "push_to_hub": False,
        **config.settings(executed=executed),
    }
    flags: dict[str, object] = {
        "dataset.repo_id": f"local/{config.dataset.name}",
        "dataset.root": str(view),
        "dataset.episodes": episodes,
        "dataset.video_backend": "pyav",
        **{f"policy.{name}": value for name, value in policy.items()},
        "output_dir": str(config.output / "lerobot"),
        "job_name": config.kind,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "save_freq": config.save_every,
        "log_freq": min(50, config.save_every),
        "num_workers": config.workers,
        "seed": config.seed,
        "wandb.enable": False,
    }
    given = {flag.split("=", 1)[0] for flag in config.extra}
    own = [f"{name}={_written(value)}" for name, value in flags.items() if name not in given]
    return [f"--{flag}" for flag in (*own, *config.extra)]


def _steps_of(checkpoint: Path) -> int:
    """Steps that a checkpoint has behind it."""
    return int(read_json(checkpoint.parent / "training_state" / "training_step.json")["step"])


def _written(value: object) -> str:
    """A value as draccus reads it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
