"""Environments by name: importing this module registers them with gymnasium.

Gymnasium loads no plug-ins since 1.0. It imports a module that is given with the name:
`gymnasium.make("roboscape.simulators.gym:roboscape/LiftMujoco-v0")`.
"""

import gymnasium

ENVIRONMENTS = {
    "roboscape/Lift-v0": ("learned", {}),
    "roboscape/LiftMujoco-v0": ("true", {"task": "Lift"}),
    "roboscape/MetaworldMujoco-v0": ("true", {"task": "metaworld/door-open"}),
}
"""By name, what makes them; nothing heavier than gymnasium is imported before one is made."""

for _name, (_maker, _settings) in ENVIRONMENTS.items():
    gymnasium.register(
        id=_name,
        entry_point=f"roboscape.simulators.environment:make_{_maker}",
        vector_entry_point=f"roboscape.simulators.environment:make_{_maker}_vector",
        kwargs=_settings,
    )
