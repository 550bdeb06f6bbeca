"""Mean and deviation of control signals, by which a model's inputs are normalised."""

import logging
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from jaxtyping import Float

from roboscape.clips.split import episodes_of
from roboscape.controls.encoder import ControlStatistics, unscaled
from roboscape.controls.proprioception import Proprioception
from roboscape.controls.signals import one_where_still
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """A clip's numbers."""

    actions: Float[np.ndarray, "n a"]
    first_state: Float[np.ndarray, " s"]
    state_before: Float[np.ndarray, " s"]


def measure_controls(
    datasets: list[LeRobotDataset],
    *,
    stride: int,
    proprioception: Proprioception | None = None,
    task_size: int = 0,
    length: int = 16,
    clips: int = 2000,
) -> ControlStatistics:
    """Mean and deviation of every control dimension over random training clips.

    Without a training episode (a store of test episodes alone) all episodes count, with a warning.
    """
    spec = datasets[0].spec
    encoder = unscaled(
        spec.action,
        stride=stride,
        state_size=len(spec.state_names),
        proprioception=proprioception,
    )
    pieces = random_pieces(datasets, rows=(length - 1) * stride, clips=clips)
    rows = []
    # Clips of episodes that are too short for a whole one have a length of their own.
    for _, alike in groupby(sorted(pieces, key=num_actions), key=num_actions):
        chosen = list(alike)
        signals = encoder.encode(
            np.stack([piece.actions for piece in chosen]),
            np.stack([piece.first_state for piece in chosen]),
            state_before=np.stack([piece.state_before for piece in chosen]),
        )
        rows.append(signals[:, 1:].reshape(-1, signals.shape[-1]).numpy())
    measured = np.concatenate(rows).astype(np.float64)
    return ControlStatistics(
        convention=spec.action,
        stride=stride,
        state_size=len(spec.state_names),
        imagined_state=proprioception is not None,
        mean=tuple(measured.mean(axis=0).tolist()),
        std=tuple(one_where_still(measured.std(axis=0)).tolist()),
        task_size=task_size,
    )


def random_pieces(datasets: list[LeRobotDataset], *, rows: int, clips: int) -> list[Piece]:
    """Random clips of training episodes, or of all where there are none."""
    chosen = [(data, e) for data in datasets for e in episodes_of(data, "train")]
    if not chosen:
        log.warning("no training episodes: the control statistics are measured on all episodes")
        chosen = [(data, e) for data in datasets for e in range(data.num_episodes)]

    @cache
    def numbers(which: int) -> tuple[np.ndarray, np.ndarray]:
        dataset, episode = chosen[which]
        return dataset.actions(episode), dataset.state(episode)

    generator = numpy_generator_for(0)
    pieces = []
    for which in np.sort(generator.integers(len(chosen), size=clips)):
        actions, state = numbers(int(which))
        start = int(generator.integers(max(1, len(actions) - rows)))
        pieces.append(Piece(actions[start : start + rows], state[start], state[max(start - 1, 0)]))
    return pieces


def num_actions(piece: Piece) -> int:
    """The number of actions of a clip."""
    return len(piece.actions)
