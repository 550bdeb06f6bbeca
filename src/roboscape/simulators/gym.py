"""Environments by name: importing this module registers them.

Gymnasium 1.4 loads no plug-ins, so that it is given the module with the name:
`gymnasium.make("roboscape.simulators.gym:roboscape/LiftMujoco-v0")`. Versions that read the entry
point `gymnasium.envs` need the second half alone.
"""

import gymnasium

ENVIRONMENTS = {
    "roboscape/Lift-v0": "learned",
    "roboscape/LiftMujoco-v0": "lift",
    "roboscape/MetaworldMujoco-v0": "metaworld",
}
"""By name, what makes them; nothing heavier than gymnasium is imported before one is made."""


def register() -> None:
    """Register the environments that are not registered yet."""
    for name, maker in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point=f"roboscape.simulators.environment:make_{maker}",
                vector_entry_point=f"roboscape.simulators.environment:make_{maker}_vector",
            )


register()
