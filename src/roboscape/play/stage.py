"""The parts that all players share: models, simulators, recordings, cameras, limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from roboscape.controls.signals import gripper_dimensions
from roboscape.core.errors import UserError
from roboscape.dataset.cameras import named_hand
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.play.layout import CameraView, Control, camera_view, controls_for
from roboscape.play.limits import Limits
from roboscape.play.starts import KnownStarts
from roboscape.play.worlds import Worlds, codec_of, imagined_worlds
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.opening import BUNDLED_POLICIES, open_policy
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.identity import Checkpoint
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import Simulator, WorldSpec


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Shared by all sessions of a server."""

    checkpoint: Checkpoint
    imagined: Worlds
    truth: Worlds | None
    """None where there is no true simulator of this task."""
    dataset: LeRobotDataset | None
    recordings: DatasetSpec
    """The dataset's, else the true simulator's: robot and cameras of what is written."""
    cameras: tuple[str, ...]
    side_px: int
    """Height and width of the model's images."""
    state_size: int
    """Numbers of the robot's state that a start needs."""
    codec: DepthCodec
    output: Path
    """Folder for recorded sessions."""
    limits: Limits
    policies: tuple[str, ...] = ()
    """Names of those that may drive."""
    device: str = "cpu"
    """Where they compute."""
    known: KnownStarts = field(default_factory=KnownStarts)

    @property
    def spec(self) -> WorldSpec:
        """The specification that all worlds share."""
        return self.imagined.spec

    async def read_state(
        self, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]
    ) -> Float[np.ndarray, " s"] | None:
        """The robot's state as the images show it; None where the bundle cannot read it.

        Args:
            images: by camera; all that the model sees are needed.
        """
        if not images.keys() >= set(self.cameras):
            return None
        frame = np.concatenate([images[name] for name in self.cameras])
        return await self.imagined.ask(lambda simulator: _read_state(simulator, frame))

    def policy(self, name: str) -> PolicyDriver:
        """A policy for one imagined world.

        Raises:
            ValueError: there is none of this name, or it does not fit.
        """
        # Frames that a player has seen are kept as pictures, without their tokens.
        pictures = replace(self.spec, encoder_sha256="")
        return PolicyDriver(open_policy(name, device=self.device), pictures)

    @property
    def has_goals(self) -> bool:
        """True if a point of a picture can be a goal: camera, depth and hand are known."""
        has_hand = named_hand(self.spec.state_names) is not None
        has_depth = any(camera.has_depth for camera in self.spec.cameras)
        return has_hand and has_depth and any(view.measured for view in self.views())

    def views(self) -> list[CameraView]:
        """The cameras, for point clouds; a camera on the hand has no pose of its own here."""
        state = np.zeros(len(self.recordings.state_names), np.float32)
        known = {camera.name for camera in self.recordings.cameras}
        return [camera_view(self.recordings, name, state) for name in self.cameras if name in known]

    def controls(self) -> list[Control]:
        """Keys for the dimensions of an action, as seen through the first camera."""
        views = self.views()
        return controls_for(self.spec.action, views[0] if views else None)

    def about(self) -> dict[str, object]:
        """The facts that a page needs in order to show and drive the worlds."""
        spec, action = self.spec, self.spec.action
        dataset = self.dataset
        return {
            "checkpoint": self.checkpoint.name,
            "sha256": self.checkpoint.sha256,
            "task": spec.task,
            "frame_hz": spec.frame_hz,
            "stride": spec.stride,
            "side_px": self.side_px,
            "cameras": [vars(view) for view in self.views()],
            "depth": {"nearest_m": self.codec.minimum_m, "farthest_m": self.codec.maximum_m},
            "action": {
                "names": action.names,
                "units": action.units,
                "scale": action.scale,
                "mode": action.mode,
                "targets": [bool(one) for one in gripper_dimensions(action)],
            },
            "state_names": spec.state_names,
            "state_size": self.state_size,
            "controls": [vars(control) for control in self.controls()],
            "has_truth": self.truth is not None,
            "has_goals": self.has_goals,
            "policies": list(self.policies),
            "episodes": None
            if dataset is None
            else [dataset.episode_info(n).length for n in range(min(dataset.num_episodes, 1000))],
            "limits": {"frames": self.limits.frames, "away_s": self.limits.away_s},
        }

    def close(self) -> None:
        """End the worlds' threads."""
        self.imagined.close()
        if self.truth is not None:
            self.truth.close()


def open_stage(
    bundle: Bundle,
    *,
    name: str,
    dataset: LeRobotDataset | None,
    task: str,
    cameras: tuple[str, ...],
    output: Path,
    limits: Limits,
    policies: tuple[str, ...] = (),
) -> Stage:
    """Open the worlds of a bundle, and the true simulator's where there is one.

    Args:
        bundle: Prepared for a device.
        name: As it was asked for, for recordings to tell.
        dataset: Recordings to start from and to replay; None for the true simulator's scenes alone.
        task: The true simulator's; empty: that of the dataset, as far as it tells, else Lift.
        cameras: Names of the bundle's views; those of its training where none is named.
        output: Folder for recorded sessions.
        limits: Of players and messages.
        policies: Names of those that may drive; where none is named, those that come with the
            package and fit.

    Raises:
        ValueError: neither recordings nor a true simulator to start from, or one whose actions or
            cameras are not the bundle's; a policy that is not there, or does not fit.
    """
    cameras = cameras or bundle.world_model.config.views
    truth, recordings = _truth(bundle, dataset=dataset, task=task, cameras=cameras)
    if dataset is not None:
        recordings = dataset.spec
        _check_dataset(bundle, dataset)
        cameras = cameras or (recordings.cameras[0].name,)
    elif truth is not None:
        cameras = cameras or tuple(camera.name for camera in truth.spec.cameras)
    assert recordings is not None
    words = truth.spec.task if truth else dataset.episode_info(0).task if dataset else ""
    stage = Stage(
        checkpoint=Checkpoint.of(name),
        imagined=imagined_worlds(bundle, cameras=cameras, task=words),
        truth=truth,
        dataset=dataset,
        recordings=recordings,
        cameras=cameras,
        side_px=bundle.tokenizer.config.image_size,
        state_size=bundle.controls.statistics.state_size,
        codec=codec_of(bundle),
        output=output,
        limits=limits,
        device=str(bundle.tokenizer.device),
    )
    try:
        return replace(stage, policies=_fitting(stage, policies))
    except BaseException:
        stage.close()
        raise


def _read_state(
    simulator: Simulator, frame: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, " s"] | None:
    if not isinstance(simulator, LearnedSimulator) or simulator.bundle.state_reader is None:
        return None
    return simulator.bundle.read_states(frame[None])[0]


def _fitting(stage: Stage, named: tuple[str, ...]) -> tuple[str, ...]:
    """The named policies, all of which must fit; where none is named, the bundled ones that do."""
    found = []
    for name in named or BUNDLED_POLICIES:
        try:
            stage.policy(name).policy.close()
        except UserError:
            if named:
                raise
            continue
        found.append(name)
    return tuple(found)


def _check_dataset(bundle: Bundle, dataset: LeRobotDataset) -> None:
    if dataset.spec.action != bundle.controls.convention:
        raise UserError(
            f"actions of {dataset.root} mean {dataset.spec.action}, and those of the checkpoint "
            f"{bundle.controls.convention}; take a dataset of the same robot"
        )


def _truth(
    bundle: Bundle, *, dataset: LeRobotDataset | None, task: str, cameras: tuple[str, ...]
) -> tuple[Worlds | None, DatasetSpec | None]:
    """The true simulator's worlds and the specification of what it would record, if there are any.

    Where a dataset is given, a simulator that is missing or of another robot is done without.
    """
    if not task and dataset is not None and not dataset.spec.source.endswith("Lift"):
        return None, None
    try:
        return _true_worlds(bundle, task=task or "Lift", cameras=cameras)
    except UserError as error:
        if dataset is not None and not task:
            return None, None
        raise UserError(
            f"there is nothing to start from: {error}. Install the simulators (`pip install "
            "'roboscape[sim]'`), choose the checkpoint's own --task, or give recordings with "
            "--dataset"
        ) from error


def _true_worlds(
    bundle: Bundle, *, task: str, cameras: tuple[str, ...]
) -> tuple[Worlds, DatasetSpec]:
    # MuJoCo is imported only where it is needed.
    from roboscape.simulators.mujoco import MujocoSimulator
    from roboscape.simulators.recording_spec import dataset_spec

    controls, side_px = bundle.controls, bundle.tokenizer.config.image_size
    frame_hz = controls.convention.action_hz / controls.stride

    def make(temperature: float) -> MujocoSimulator:
        return MujocoSimulator(task, cameras=cameras, image_size=side_px, frame_hz=frame_hz)

    truth = Worlds(make, codec=codec_of(bundle), name="true")
    if truth.spec.action != controls.convention:
        truth.close()
        raise UserError(
            f"actions of the simulator's task {task} mean {truth.spec.action}, and those of the "
            f"checkpoint {controls.convention}"
        )
    names = tuple(camera.name for camera in truth.spec.cameras)
    described = dataset_spec(task, cameras=names, image_size=side_px, supersampling=2)
    return truth, described
