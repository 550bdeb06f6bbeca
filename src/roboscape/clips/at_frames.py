"""Recordings in the form of imagined episodes: `roboscape at-frames DATASET --output DATASET`.

A policy can then be trained by lerobot's trainer on both, at the rate of the learned world.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.dataset.frame_actions import frame_episode, stacked_episode, stacked_spec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter

log = logging.getLogger(__name__)

RECORD = "at_frames.json"


@dataclass(frozen=True, kw_only=True)
class AtFrames:
    """Copy a dataset at a world model's rate: every `stride`-th frame, all actions kept, stacked.

    The copy has the form of what `roboscape synthesize` writes, so that lerobot trains on either,
    or on both after `lerobot-edit-dataset --operation.type merge`.
    """

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset at its native rate; it stays as it is."""
    output: Path
    """Folder of the copy; must not exist."""
    stride: int = 4
    """Native rows from one frame to the next, as the world model has it."""
    cameras: tuple[str, ...] = ()
    """Cameras that are kept; all where not given."""
    episodes: int | None = None
    """Number of episodes, the first ones; all where not given."""
    successes: bool = False
    """Keep only episodes that succeed, as demonstrations to imitate."""


def run(config: AtFrames) -> LeRobotDataset:
    """Write the copy, whole or not at all; returns it.

    Raises:
        ValueError: the output exists, there is no such camera, or nothing is left to copy.
    """
    if config.output.exists():
        raise UserError(f"{config.output} exists; the copy goes to a new folder")
    dataset = LeRobotDataset(config.dataset)
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    chosen = [one.index for one in infos if one.success or not config.successes]
    chosen = chosen[: config.episodes]
    if not chosen:
        raise UserError(f"{dataset.root} has no episode that succeeds; nothing is left to copy")
    spec = stacked_spec(dataset.spec, stride=config.stride)
    names = config.cameras or tuple(camera.name for camera in spec.cameras)
    spec = replace(spec, cameras=tuple(one for one in spec.cameras if one.name in names))
    with (
        atomic_path(config.output) as folder,
        progress(len(chosen), f"copying {dataset.root.name}", unit="episode") as bar,
    ):
        with DatasetWriter(folder, spec) as writer:
            for number in chosen:
                found = frame_episode(dataset, number, stride=config.stride, cameras=names)
                writer.add(stacked_episode(found, behaviour=infos[number].behaviour))
                bar.update()
        about = {"source": str(config.dataset), "stride": config.stride, "episodes": chosen}
        write_json(folder / "meta" / RECORD, about)
    log.info("%s: %d episodes at %g frames a second", config.output, len(chosen), spec.fps)
    return LeRobotDataset(config.output)
