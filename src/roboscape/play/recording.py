"""A played session as an episode of a LeRobot v3 dataset, marked as imagined."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.action_math import slow_down
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.rollout import hold_still
from roboscape.play.drivers.hands import targets
from roboscape.play.frames import Frame
from roboscape.play.session import Began
from roboscape.play.stage import Stage
from roboscape.rollout.synthetic import (
    MadeBy,
    Synthetic,
    SyntheticEpisode,
    comment_of,
    comment_video,
    digests,
    files_of,
    is_synthetic,
    read_synthetic,
    write_synthetic,
)

BEHAVIOUR = "imagined"
"""In the column `behaviour` of every written episode."""
_WRITING = Lock()


@dataclass(frozen=True, kw_only=True)
class Written:
    """An episode that was written."""

    root: Path
    """Folder of its dataset."""
    episode: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class PlayedEpisode:
    """The details of a played session in the record of its dataset."""

    began: dict[str, Any]
    """Its first frame: a seed's, an episode's, an image's."""
    task: str
    """In words."""
    temperature: float
    """At which its last frames were imagined."""
    draws_seed: int
    """Of its last draws."""
    frames: int
    """Rows."""
    restarts: tuple[int, ...]
    """Rows at which the imagined world was put to a true one's frame."""
    native_actions: tuple[tuple[float, ...], ...]
    """All that was commanded, at the native rate, in stored units."""


def record_session(
    stage: Stage, frames: Sequence[Frame], began: Began, *, temperature: float, seed: int
) -> Written:
    """Append the frames of a session to the checkpoint's dataset.

    A row is a frame of the model; its action is what its native actions commanded together. The
    native actions themselves stand in the provenance.

    Args:
        stage: Checkpoint, cameras, output folder.
        frames: In order.
        began: How the first one came about.
        temperature: At the end.
        seed: Of the draws, at the end.

    Raises:
        ValueError: fewer than two frames, or a folder with another dataset.
    """
    if len(frames) < 2:
        raise UserError("there is nothing to record yet; drive for some frames first")
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(stage.checkpoint.name).name).strip("-")
    root = stage.output / f"{name}-{stage.checkpoint.sha256[:8]}"
    episode = episode_of(stage, frames, began)
    native = [frame.actions for frame in frames if frame.actions is not None]
    with _WRITING:
        # A dataset that cannot be continued is refused before anything is written to it.
        known = read_synthetic(root) if is_synthetic(root) else record_of(stage)
        before = set(files_of(root))
        with DatasetWriter(root, spec_of(stage), episodes_per_file=1) as writer:
            number = writer.num_episodes
            writer.add(episode)
        about = PlayedEpisode(
            began=dict(began.about),
            task=episode.task,
            temperature=temperature,
            draws_seed=seed,
            frames=len(frames),
            restarts=tuple(place for place, frame in enumerate(frames) if frame.restarted),
            native_actions=tuple(
                tuple(float(value) for value in action) for action in np.concatenate(native)
            ),
        )
        new = SyntheticEpisode(seed=episode.seed, details=asdict(about))
        mark_synthetic(
            root, known, new, files=[path for path in files_of(root) if path not in before]
        )
    return Written(root=root, episode=number, rows=len(frames))


def mark_synthetic(
    root: Path, known: Synthetic, new: SyntheticEpisode, *, files: Sequence[Path]
) -> None:
    """Put an episode into the videos that hold it and into the record of its dataset.

    Args:
        root: Folder of the dataset.
        known: Its record so far.
        new: The episode.
        files: Its tables and videos, no other episode's.
    """
    for path in files:
        if path.suffix == ".mp4":
            comment_video(path, comment_of(known.checkpoint))
    episodes, digested = (*known.episodes, new), {**known.files, **digests(root, files)}
    write_synthetic(root, replace(known, episodes=episodes, files=digested))


def record_of(stage: Stage) -> Synthetic:
    """The record of a dataset without episodes."""
    settings = {
        "cameras": list(stage.cameras),
        "frame_hz": stage.spec.frame_hz,
        "native_actions_a_row": stage.spec.stride,
    }
    return Synthetic(checkpoint=stage.checkpoint, made_by=MadeBy(command="play", settings=settings))


def spec_of(stage: Stage) -> DatasetSpec:
    """The specification that all recordings of a checkpoint share."""
    known = {camera.name: camera for camera in stage.recordings.cameras}
    side, has_depth = stage.side_px, any(camera.has_depth for camera in stage.spec.cameras)
    cameras = tuple(
        replace(
            known.get(name, CameraSpec(name=name, height=side, width=side)),
            height=side,
            width=side,
            has_depth=has_depth,
        )
        for name in stage.cameras
    )
    return DatasetSpec(
        fps=stage.spec.frame_hz,
        robot_type=stage.recordings.robot_type,
        cameras=cameras,
        state_names=stage.spec.state_names,
        action=convention_of_frames(stage.spec.action, stride=stage.spec.stride),
        depth_min_m=stage.codec.minimum_m,
        depth_max_m=stage.codec.maximum_m,
        source=f"imagined by {stage.checkpoint.name}, sha256 {stage.checkpoint.sha256}",
        random_scenes=stage.recordings.random_scenes,
        random_cameras=stage.recordings.random_cameras,
    )


def convention_of_frames(action: ActionConvention, *, stride: int) -> ActionConvention:
    """The convention of one action a frame: motions of `stride` native actions in one."""
    moves = ~targets(action)
    scale = tuple(
        one * stride if move else one for one, move in zip(action.scale, moves, strict=True)
    )
    return replace(action, action_hz=action.action_hz / stride, scale=scale)


def episode_of(stage: Stage, frames: Sequence[Frame], began: Began) -> Episode:
    """The episode of some frames; no success is claimed, for no simulator counted it."""
    action, stride = stage.spec.action, stage.spec.stride
    native = np.concatenate([frame.actions for frame in frames if frame.actions is not None])
    actions = actions_of_frames(native, action, stride=stride)
    # The last frame leads nowhere: hold still there.
    actions = np.concatenate([actions, hold_still(actions[-1], action)])
    pictures = [frame.imagined for frame in frames]
    depth = pictures[0].depth_codes
    return Episode(
        frames={name: np.stack([one.rgb[name] for one in pictures]) for name in stage.cameras},
        depth_m={
            name: stage.codec.decode(np.stack([one.depth_codes[name] for one in pictures]))
            for name in depth
        },
        actions=actions.astype(np.float32),
        state=np.stack([one.state for one in pictures]).astype(np.float32),
        reward=np.zeros(len(frames), np.float32),
        task=began.task or stage.spec.task,
        success=False,
        seed=began.seed,
        behaviour=BEHAVIOUR,
        tracks={},
        split=began.split,
    )


def actions_of_frames(
    native: Float[np.ndarray, "n a"], action: ActionConvention, *, stride: int
) -> Float[np.ndarray, "m a"]:
    """One action a frame, as `convention_of_frames` describes it."""
    together = slow_down(native, convention=action, factor=stride)
    return np.where(targets(action), together, together / stride)
