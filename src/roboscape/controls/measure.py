"""Mean and deviation of control signals, by which a model's inputs are normalised."""

import logging
from collections import defaultdict
from functools import cache

import numpy as np

from roboscape.clips.split import episodes_of
from roboscape.controls.encoder import ControlStatistics, raw_signals
from roboscape.controls.proprioception import Proprioception
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)


def measure_controls(
    datasets: list[LeRobotDataset],
    *,
    stride: int,
    proprioception: Proprioception | None = None,
    length: int = 16,
    clips: int = 2000,
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
    of_length = defaultdict(list)
    for which in np.sort(generator.integers(len(chosen), size=clips)):
        actions, state = numbers(int(which))
        start = int(generator.integers(max(1, len(actions) - (length - 1) * stride)))
        piece = actions[start : start + (length - 1) * stride]
        of_length[len(piece)].append((piece, state[start], state[max(start - 1, 0)]))
    rows = []
    for pieces in of_length.values():
        actions, first, before = (np.stack(parts) for parts in zip(*pieces, strict=True))
        signals = raw_signals(
            actions,
            first,
            state_before=before,
            convention=spec.action,
            stride=stride,
            proprioception=proprioception,
        )
        rows.append(signals[:, 1:].reshape(-1, signals.shape[-1]))
    measured = np.concatenate(rows).astype(np.float64)
    deviation = measured.std(axis=0)
    return ControlStatistics(
        convention=spec.action,
        stride=stride,
        state_size=len(spec.state_names),
        imagined_state=proprioception is not None,
        mean=tuple(measured.mean(axis=0).tolist()),
        std=tuple(np.where(deviation < 1e-6, 1.0, deviation).tolist()),
    )
