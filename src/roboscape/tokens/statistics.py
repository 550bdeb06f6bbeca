"""Mean and deviation of control signals, by which a model's inputs are normalised."""

import logging
from functools import cache

import numpy as np

from roboscape.clips.controls import ControlStatistics, control_signals
from roboscape.clips.split import episodes_of
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)


def measure_controls(
    datasets: list[LeRobotDataset], *, stride: int, length: int = 16, clips: int = 2000
) -> ControlStatistics:
    """Mean and deviation of every control dimension over random training clips.

    Without a training episode (a store of test episodes alone) all episodes count, with a warning.
    """
    chosen = [(data, e) for data in datasets for e in episodes_of(data, "train")]
    if not chosen:
        log.warning("no training episodes: the control statistics are measured on all episodes")
        chosen = [(data, e) for data in datasets for e in range(data.num_episodes)]
    spec = datasets[0].spec

    @cache
    def numbers(which: int) -> tuple[np.ndarray, np.ndarray]:
        dataset, episode = chosen[which]
        return dataset.actions(episode), dataset.state(episode)

    generator = numpy_generator_for(0)
    signals = []
    for which in np.sort(generator.integers(len(chosen), size=clips)):
        actions, state = numbers(int(which))
        start = int(generator.integers(max(1, len(actions) - (length - 1) * stride)))
        piece = actions[start : start + (length - 1) * stride]
        signals.append(
            control_signals(piece, state[start], convention=spec.action, stride=stride)[1:]
        )
    rows = np.concatenate(signals).astype(np.float64)
    deviation = rows.std(axis=0)
    return ControlStatistics(
        convention=spec.action,
        stride=stride,
        state_size=len(spec.state_names),
        mean=tuple(rows.mean(axis=0).tolist()),
        std=tuple(np.where(deviation < 1e-6, 1.0, deviation).tolist()),
    )
