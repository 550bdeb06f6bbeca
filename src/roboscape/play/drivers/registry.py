"""The drivers that a page can choose, by name.

To add one, write a class with the members of `Driver` and a function that makes it, and name that
here; a page asks for it by this name, with whole numbers as settings.
"""

from collections.abc import Awaitable, Callable, Mapping

from roboscape.play.drivers.acting import of_policy
from roboscape.play.drivers.planned import of_goal
from roboscape.play.drivers.protocol import Driver, Surroundings
from roboscape.play.drivers.recorded import of_episode, of_future

Make = Callable[[Surroundings, Mapping[str, int]], Awaitable[Driver]]

DRIVERS: dict[str, Make] = {
    "episode": of_episode,
    "future": of_future,
    "policy": of_policy,
    "goal": of_goal,
}
"""Drivers beside the player's own hands."""
