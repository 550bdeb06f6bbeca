"""Recordings of any robot in one form: `roboscape unify DATASET --output DATASET`.

One model can then learn from many: `roboscape tokenize` takes datasets of one kind.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.dataset.common_actions import (
    COMMON_ACTION,
    COMMON_HZ,
    check_convertible,
    common_actions,
)
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec, DatasetSpec, Episode, Tracks
from roboscape.dataset.writer import DatasetWriter

log = logging.getLogger(__name__)

CAMERA = "view"
"""Name of the only camera."""
RECORD = "unify.json"


@dataclass(frozen=True, kw_only=True)
class Unify:
    """Copy a dataset in the form that all robots share, for a model that learns from several.

    Every `stride`-th row is kept; actions become the hand's motion between two such rows
    (`dataset/common_actions.py`); states are left out; each camera's view of an episode is an
    episode of its own; depth is kept where it was recorded, and so are a simulator's tracks.
    """

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset; it stays as it is."""
    output: Path
    """Folder of the copy; must not exist."""
    stride: int = 4
    """Rows from one kept frame to the next."""
    cameras: tuple[str, ...] = ()
    """Cameras whose views are kept; all where not given."""
    episodes: int | None = None
    """Number of episodes, the first ones; all where not given."""
    hold_out: tuple[int, ...] = ()
    """Episodes for validation, whatever their split was: those of whole scenes, to see how a model
    does in others; the rest keep theirs."""

    def __post_init__(self) -> None:
        """Refuse copies of nothing."""
        if self.stride < 1 or (self.episodes is not None and self.episodes < 1):
            raise UserError(
                f"expected stride and episodes >= 1, got {self.stride} and {self.episodes}"
            )


def run(config: Unify) -> LeRobotDataset:
    """Write the copy, whole or not at all; returns it.

    Raises:
        ValueError: the output exists, there is no such camera or episode, the cameras differ in
            size or depth, or the actions are not those of a hand.
    """
    if config.output.exists():
        raise UserError(f"{config.output} exists; the copy goes to a new folder")
    dataset = LeRobotDataset(config.dataset)
    check_convertible(dataset.spec.action)
    names = config.cameras or tuple(camera.name for camera in dataset.spec.cameras)
    numbers = range(dataset.num_episodes)[: config.episodes]
    if unknown := set(config.hold_out) - set(numbers):
        raise UserError(f"--hold-out names episodes {sorted(unknown)}, expected some of {numbers}")
    spec = common_spec(dataset, names)
    with (
        atomic_path(config.output) as folder,
        progress(len(numbers), f"unifying {dataset.root.name}", unit="episode") as bar,
    ):
        with DatasetWriter(folder, spec) as writer:
            for number in numbers:
                episode = dataset.episode(number)
                if number in config.hold_out:
                    episode = replace(episode, split="validation")
                for name in names:
                    writer.add(view_of(episode, name, dataset=dataset, stride=config.stride))
                bar.update()
        about = {
            "source": str(config.dataset),
            "stride": config.stride,
            "frame_hz": dataset.spec.fps / config.stride,
            "cameras": names,
            "held_out": config.hold_out,
        }
        write_json(folder / RECORD, about)
    log.info("%s: %d views of %d episodes", config.output, len(names) * len(numbers), len(numbers))
    return LeRobotDataset(config.output)


def common_spec(dataset: LeRobotDataset, names: tuple[str, ...]) -> DatasetSpec:
    """The specification that the views have in common."""
    known = {camera.name: camera for camera in dataset.spec.cameras}
    if unknown := set(names) - set(known):
        raise UserError(f"{dataset.root} has no camera {sorted(unknown)}; it has {sorted(known)}")
    shapes = {(c.height, c.width, c.has_depth, c.supersampling) for c in map(known.get, names) if c}
    if len(shapes) != 1:
        raise UserError(
            f"the cameras {', '.join(names)} of {dataset.root} differ in size or depth (height, "
            f"width, depth, supersampling: {sorted(shapes)}); name those of one kind in --cameras"
        )
    ((height, width, has_depth, supersampling),) = shapes
    view = CameraSpec(
        name=CAMERA,
        height=height,
        width=width,
        has_depth=has_depth,
        supersampling=supersampling,
    )
    return replace(
        dataset.spec,
        fps=COMMON_HZ,
        cameras=(view,),
        state_names=(),
        action=COMMON_ACTION,
        commands="recorded" if dataset.spec.action.mode == "delta" else dataset.spec.commands,
    )


def view_of(episode: Episode, name: str, *, dataset: LeRobotDataset, stride: int) -> Episode:
    """One camera's view of an episode, at the kept rows."""
    rows = slice(None, None, stride)
    depth_m, tracks = episode.depth_m.get(name), episode.tracks.get(name)
    return replace(
        episode,
        frames={CAMERA: episode.frames[name][rows]},
        depth_m={} if depth_m is None else {CAMERA: depth_m[rows]},
        actions=common_actions(
            episode.actions, convention=dataset.spec.action, stride=stride
        ).astype("float32"),
        state=episode.state[rows, :0],
        reward=episode.reward[rows],
        tracks={} if tracks is None else {CAMERA: kept_tracks(tracks, rows)},
    )


def kept_tracks(tracks: Tracks, rows: slice) -> Tracks:
    """Tracks at the kept rows."""
    return replace(tracks, xy_px=tracks.xy_px[rows], visible=tracks.visible[rows])
