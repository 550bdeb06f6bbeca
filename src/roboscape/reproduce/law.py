"""A power law fitted to the runs of a sweep, with intervals of its exponents."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.reproduce.statistics import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """The exponent of one quantity: the loss is multiplied by x ** -value."""

    name: str
    value: float
    low: float
    """Lower end of the 95 % interval (t, residuals of the runs)."""
    high: float


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """loss = scale * product of x ** -exponent, without a floor: a slope within what was swept."""

    scale: float
    exponents: tuple[Exponent, ...]
    """Of the quantities that vary."""
    explained: float
    """R squared of the logarithm."""
    runs: int

    def text(self) -> str:
        """The law in one line."""
        parts = [
            f"{one.name}^−{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in self.exponents
        ]
        return f"loss = {self.scale:.3g} · {' · '.join(parts)}; R² {self.explained:.2f}"


def fit_power_law(
    losses: Float[np.ndarray, " r"], **quantities: Float[np.ndarray, " r"]
) -> PowerLaw:
    """Least squares of the logarithm of a loss on the logarithms of what varies.

    Args:
        losses: One a run, positive.
        quantities: By name, one a run, positive; those that do not vary are left out.

    Raises:
        UserError: too few runs for as many quantities.
    """
    from scipy import stats

    varying = {name: np.log(x) for name, x in quantities.items() if np.ptp(np.log(x)) > 1e-9}
    y = np.log(losses)
    design = np.stack([np.ones_like(y), *varying.values()], axis=1)
    freedom = len(y) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise UserError(
            f"a law of {', '.join(varying) or 'nothing'} needs more runs of more kinds than the "
            f"{len(y)} that are there"
        )
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    residuals = y - design @ solution
    variance = residuals @ residuals / freedom
    errors = np.sqrt(np.diag(variance * np.linalg.inv(design.T @ design)))
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * errors
    spread = ((y - y.mean()) ** 2).sum()
    return PowerLaw(
        scale=float(np.exp(solution[0])),
        exponents=tuple(
            Exponent(
                name=name,
                value=float(-solution[place]),
                low=float(-solution[place] - reach[place]),
                high=float(-solution[place] + reach[place]),
            )
            for place, name in enumerate(varying, start=1)
        ),
        explained=float(1 - residuals @ residuals / spread) if spread > 0 else 0.0,
        runs=len(y),
    )
