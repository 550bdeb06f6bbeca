"""Annotating on Ray Data: embedded on one machine, or on a cluster with a shared file system.

Two stages stream into each other: readers decode episodes (tasks, CPU), annotators label them
(actors that keep their models loaded, CPU or GPU) and write each result themselves, whole or not at
all. Ray Data holds readers back while annotators have enough to do. What is on disk is the only
record of what is done, so a run that is killed, at any place, goes on where it stopped.
"""

import logging
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.exceptions import RayError

from roboscape.annotate.pipeline_failures import Outcome
from roboscape.annotate.pipeline_local import attempted
from roboscape.annotate.pipeline_stage import (
    Item,
    Scale,
    Stage,
    annotate_item,
    missing_items,
    read_frames,
)
from roboscape.dataset.reader import LeRobotDataset

logger = logging.getLogger(__name__)

Row = dict[str, Any]
EPISODES_IN_FLIGHT = 2
"""Episodes that wait at each annotator; more would only fill memory."""
LARGEST_ROUND = 2000
"""Episodes handed to Ray at once: what a killed worker can take along is at most its own."""


def outcomes_on_ray(
    stage: Stage, items: list[Item], *, annotator: str, scale: Scale
) -> Iterator[Outcome]:
    """Annotate on many processes, and tell what came of each episode, in the order of finishing.

    An episode whose worker died comes back with neither a result nor a reason; it is tried again,
    and reported after `attempts` rounds.
    """
    connect(stage, scale=scale)
    dataset = LeRobotDataset(stage.dataset)
    cameras = tuple(dict.fromkeys(item.camera for item in items))
    reported: set[Item] = set()
    for start in range(0, len(items), LARGEST_ROUND):
        lost = items[start : start + LARGEST_ROUND]
        for attempt in range(1, scale.attempts + 1):
            if not lost:
                break
            for outcome in stream(stage, lost, scale=scale):
                reported.add(Item(camera=outcome.camera, episode=outcome.episode))
                yield outcome
            lost = [item for item in lost if item not in reported]
            if lost:
                logger.info("round %d: %d episodes lost with their workers", attempt, len(lost))
        there = missing_items(stage, dataset, annotator=annotator, cameras=cameras)
        for item in lost:
            reason = "the process that worked on it died" if item in there else ""
            yield Outcome(
                camera=item.camera, episode=item.episode, reason=reason, attempts=scale.attempts
            )


def connect(stage: Stage, *, scale: Scale) -> None:
    """Join the cluster, or start Ray on this machine with just the processes asked for."""
    if ray.is_initialized():
        return
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # A lone machine has no use for the dashboard, and reports nothing home.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if scale.address:
        ray.init(address=scale.address, log_to_driver=False)
        return
    cores = scale.readers + scale.workers * max(scale.cpus_per_worker, 0.01)
    ray.init(
        num_cpus=int(np.ceil(cores)),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )


def stream(stage: Stage, items: list[Item], *, scale: Scale) -> Iterator[Outcome]:
    """One pass over some episodes; ends early where Ray gives up, leaving episodes untold."""
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    rows: list[Row] = [{"camera": item.camera, "episode": item.episode} for item in items]
    source: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
    if stage.needs_frames:
        source = source.map(
            read_row,
            fn_kwargs={"stage": stage, "attempts": scale.attempts},
            compute=ray.data.TaskPoolStrategy(size=scale.readers),
            num_cpus=1,
        )
    results = source.map(
        Worker,
        fn_constructor_kwargs={"stage": stage, "attempts": scale.attempts},
        compute=ray.data.ActorPoolStrategy(
            size=scale.workers, max_tasks_in_flight_per_actor=EPISODES_IN_FLIGHT
        ),
        num_cpus=scale.cpus_per_worker,
        num_gpus=scale.gpus_per_worker if stage.gpu else 0,
    )
    try:
        for row in results.iter_rows():
            yield Outcome(**row)
    except RayError as error:
        logger.warning("Ray gave up on a part of the work: %s", str(error).splitlines()[0])


def read_row(row: Row, *, stage: Stage, attempts: int) -> Row:
    """Decode an episode; a failure travels on as a reason."""
    start, item = time.monotonic(), as_item(row)
    frames: list[np.ndarray] = []

    def work(item: Item) -> None:
        read = read_frames(stage, open_dataset(stage.dataset), item)
        assert read is not None
        frames.append(read)

    outcome = attempted(work, item, attempts=attempts)
    decoded = frames[0] if frames else np.zeros((0, 1, 1, 3), np.uint8)
    return {**row, "frames": decoded, "reason": outcome.reason, "read_s": time.monotonic() - start}


@cache
def open_dataset(root: Path) -> LeRobotDataset:
    """A dataset, its metadata read once in each process."""
    return LeRobotDataset(root)


class Worker:
    """Annotates in a process of its own, its model loaded once."""

    def __init__(self, *, stage: Stage, attempts: int) -> None:
        self._stage = stage
        self._attempts = attempts
        self._annotator = stage.make()
        self._dataset = LeRobotDataset(stage.dataset)

    def __call__(self, row: Row) -> Row:
        """Annotate one episode and write it; returns the outcome, not the annotation."""
        item = as_item(row)
        if reason := row.get("reason"):
            return vars(
                Outcome(
                    camera=item.camera,
                    episode=item.episode,
                    reason=reason,
                    attempts=self._attempts,
                    seconds=row["read_s"],
                )
            )

        def work(item: Item) -> None:
            annotate_item(
                self._stage, self._annotator, self._dataset, item, frames=row.get("frames")
            )

        return dict(vars(attempted(work, item, attempts=self._attempts)))


def as_item(row: Row) -> Item:
    """The piece of work that a row of Ray Data stands for."""
    return Item(camera=str(row["camera"]), episode=int(row["episode"]))
