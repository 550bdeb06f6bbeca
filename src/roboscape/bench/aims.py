"""The project's own aims, on CPUs with two threads and the `small` shape."""

from dataclasses import replace

from roboscape.bench.peaks import Peaks
from roboscape.bench.record import Figure

AIMS: dict[str, tuple[float, float]] = {
    "rollout: cached RGB, 2 passes against plain RGB, 2 passes": (15, 30),
    "rollout: cached RGB, 1 pass against plain RGB, 2 passes": (25, 50),
    "rollout: cached RGB + depth, 1 pass against plain RGB, 2 passes": (12, 25),
    "rollout: greedy tokens in fp32 equal to the plain form's": (1, 1),
    "training: ours RGB against plain RGB, time": (1.5, 2.5),
    "training: ours RGB against plain RGB, memory": (2, 2),
    "loading: clips made over what training could take at the matmul peak": (1, 1),
}
"""By a figure's name: where bf16 is no faster than fp32, and where it is."""

SHARES = {"rollouts at a time": 0.5}
"""Share of its limit that a figure should reach, by what its name ends in."""


def with_aim(figure: Figure, preset: str, *, peaks: Peaks) -> Figure:
    """The figure beside what is wanted, where something is."""
    if preset != "small":
        return figure
    if figure.name in AIMS:
        return replace(figure, aim=float(AIMS[figure.name][peaks.is_bf16_fast]))
    for end, share in SHARES.items():
        if figure.name.endswith(end) and figure.limit:
            return replace(figure, aim=share * figure.limit)
    return figure
