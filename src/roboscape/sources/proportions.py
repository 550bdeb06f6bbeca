"""The shares of behaviours, and the choice of one for each episode."""

from dataclasses import asdict, dataclass

import numpy as np

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Shares of the behaviours; they need not add up to one."""

    expert: float = 0.30
    """Solves the task, as well as the script can."""
    noisy_expert: float = 0.25
    """The same under smooth random disturbance; often fails."""
    miss: float = 0.20
    """Aims beside the object, so that it is touched at most."""
    random: float = 0.25
    """Random motion through the workspace, often near the object."""
    recovery: float = 0.0
    """Solves the task from where a failed attempt has left the hand (Lift alone has it)."""
    near_miss: float = 0.0
    """Closes up to five centimetres beside the object: touches it, pushes it, or just gets hold of
    it (Lift alone has it)."""


def behaviour_of(seed: int, proportions: Proportions) -> str:
    """The behaviour of an episode; it depends on nothing but its seed."""
    shares = asdict(proportions)
    total = sum(shares.values())
    if min(shares.values()) < 0 or total <= 0:
        raise UserError(f"proportions must be ≥ 0 and not all zero, got {proportions}")
    generator = numpy_generator_for(seed, 0)
    return str(generator.choice(list(shares), p=np.array(list(shares.values())) / total))
