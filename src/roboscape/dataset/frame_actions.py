"""Datasets at a learned world's rate: a row is a frame, with all native actions up to the next.

A learned world shows a frame every `stride` native actions. A LeRobot row is one frame and one
action, so the native actions between two frames are stacked into one vector, as environments with
`action_repeat=False` take them: all numbers of the first native action, then those of the second.
`frame_episode` reads such a dataset and an ordinary one alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from einops import rearrange
from jaxtyping import Float32, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, DatasetSpec, Episode, Split

_STACKED = re.compile(r"action_(\d+)_(.+)")


@dataclass(frozen=True, kw_only=True)
class FrameEpisode:
    """An episode at a learned world's rate. Axes: t frame, k native action up to the next frame."""

    rgb: dict[str, UInt8[np.ndarray, "t h w 3"]]
    """By camera name."""
    depth_m: dict[str, Float32[np.ndarray, "t h w"]]
    """By camera name; empty where none was recorded or asked for."""
    state: Float32[np.ndarray, "t s"]
    """Proprioception at the frames."""
    actions: Float32[np.ndarray, "t k a"]
    """Native actions in stored units; row t leads from frame t to frame t + 1."""
    reward: Float32[np.ndarray, " t"]
    """At the frames."""
    task: str
    success: bool | None
    """None where the dataset does not record it."""
    split: Split
    seed: int

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.actions)


def stacked_convention(native: ActionConvention, *, stride: int) -> ActionConvention:
    """The convention of `stride` native actions in one vector, named `action_0_x`, ...

    Raises:
        ValueError: a stride below 1, or actions that are stacked already.
    """
    if stride < 1 or stride_of(native) != 1:
        raise UserError(
            f"expected a stride of 1 or more and native actions, got stride {stride} and "
            f"{', '.join(native.names[:3])}, ..."
        )
    return replace(
        native,
        names=tuple(f"action_{k}_{name}" for k in range(stride) for name in native.names),
        units=native.units * stride,
        scale=native.scale * stride,
        normalization_offset=native.normalization_offset * stride,
        normalization_scale=native.normalization_scale * stride,
        action_hz=native.action_hz / stride,
    )


def stride_of(convention: ActionConvention) -> int:
    """Number of native actions in one action: 1 of ordinary datasets."""
    found = [_STACKED.fullmatch(name) for name in convention.names]
    numbers = [int(match[1]) for match in found if match is not None]
    return max(numbers) + 1 if len(numbers) == len(found) and numbers else 1


def native_convention(convention: ActionConvention) -> ActionConvention:
    """Inverse of `stacked_convention`; an ordinary convention is its own."""
    stride = stride_of(convention)
    if stride == 1 and not any(_STACKED.fullmatch(name) for name in convention.names):
        return convention
    count = len(convention.names) // stride
    return replace(
        convention,
        names=tuple(name.removeprefix("action_0_") for name in convention.names[:count]),
        units=convention.units[:count],
        scale=convention.scale[:count],
        normalization_offset=convention.normalization_offset[:count],
        normalization_scale=convention.normalization_scale[:count],
        action_hz=convention.action_hz * stride,
    )


def stacked_spec(spec: DatasetSpec, *, stride: int) -> DatasetSpec:
    """The specification of a dataset at a rate `stride` times lower, its native actions stacked."""
    return replace(
        spec, fps=spec.fps / stride, action=stacked_convention(spec.action, stride=stride)
    )


def frame_episode(
    dataset: LeRobotDataset,
    episode: int,
    *,
    stride: int,
    cameras: Sequence[str] = (),
    depth: bool = True,
) -> FrameEpisode:
    """An episode at a learned world's rate, of an ordinary dataset or of a stacked one.

    Args:
        dataset: At the native rate, or with `stride` native actions in each row.
        episode: Its number.
        stride: Native actions between two frames.
        cameras: Names of those that are read; all where none is named.
        depth: Whether recorded depth is read.

    Raises:
        ValueError: a dataset whose rows hold another number of native actions, or an episode that
            is shorter than a frame.
    """
    info = dataset.episode_info(episode)
    step = rows_a_frame(dataset, stride=stride)
    count = info.length // step
    if not count:
        raise UserError(
            f"episode {episode} of {dataset.root} has {info.length} rows, fewer than the {stride} "
            "native actions of one frame; leave it out"
        )
    rows = slice(0, count * step, step)
    known = {camera.name: camera for camera in dataset.spec.cameras}
    chosen = tuple(cameras) or tuple(known)
    with_depth = [name for name in chosen if depth and name in known and known[name].has_depth]
    size = len(native_convention(dataset.spec.action).names)
    return FrameEpisode(
        rgb={name: dataset.frames(episode, name, rows) for name in chosen},
        depth_m={name: dataset.depth_m(episode, name, rows) for name in with_depth},
        state=dataset.state(episode)[rows],
        actions=dataset.actions(episode)[: count * step].reshape(count, stride, size),
        reward=dataset.reward(episode)[rows],
        task=info.task,
        success=info.success,
        split=info.split,
        seed=info.seed,
    )


def rows_a_frame(dataset: LeRobotDataset, *, stride: int) -> int:
    """The dataset's rows between two frames that are `stride` native actions apart.

    Raises:
        ValueError: a dataset whose rows hold another number of native actions.
    """
    stored = stride_of(dataset.spec.action)
    if stored not in (1, stride):
        raise UserError(
            f"expected native rows or {stride} native actions a row, and {dataset.root} stacks "
            f"{stored}; its frames are of a world model with another stride"
        )
    return stride // stored


def stacked_episode(found: FrameEpisode, *, behaviour: str) -> Episode:
    """The same as an episode of a stacked dataset; inverse of `frame_episode`."""
    return Episode(
        frames=found.rgb,
        depth_m=found.depth_m,
        actions=rearrange(found.actions, "t k a -> t (k a)"),
        state=found.state,
        reward=found.reward,
        task=found.task,
        success=bool(found.success),
        seed=found.seed,
        behaviour=behaviour,
        tracks={},
        split=found.split,
    )
