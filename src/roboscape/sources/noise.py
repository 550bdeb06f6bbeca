"""Smooth random disturbance of motion commands."""

import numpy as np
from jaxtyping import Float


class SmoothNoise:
    """Ornstein-Uhlenbeck noise of mean 0, one standard deviation for each motion command."""

    def __init__(
        self,
        deviation: Float[np.ndarray, " d"],
        *,
        generator: np.random.Generator,
        memory: float = 0.9,
    ) -> None:
        self._deviation = deviation
        self._generator = generator
        self._memory = memory
        self._value = generator.normal(0, 1, len(deviation))

    def disturb(self, action: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
        """The action with the next noise added to its first commands, within [-1, 1]."""
        fresh = self._generator.normal(0, 1, len(self._value))
        self._value = self._memory * self._value + np.sqrt(1 - self._memory**2) * fresh
        moved = action.copy()
        moved[: len(self._value)] += self._deviation * self._value
        return np.clip(moved, -1, 1)
