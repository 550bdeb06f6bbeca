"""lerobot's configuration of served worlds: `--env.type=roboscape`."""

from dataclasses import dataclass
from typing import Any

# Only lerobot's environment has it.
from lerobot.configs import FeatureType, PolicyFeature  # pyright: ignore[reportMissingImports]
from lerobot.envs import EnvConfig  # pyright: ignore[reportMissingImports]

from roboscape.core.errors import UserError
from roboscape.policies.lerobot.remote_world import RemoteWorlds


@EnvConfig.register_subclass("roboscape")
@dataclass
class RoboscapeEnv(EnvConfig):
    """A world server; `--eval.batch_size` must be the number of its worlds."""

    task: str | None = "served"
    address: str = "ws://127.0.0.1:8001"
    frame_actions: bool = False
    """Whether a step is a frame, as in a policy's imagined dataset, and not a native action."""

    def __post_init__(self) -> None:
        """Ask the server for what its worlds show."""
        worlds = RemoteWorlds(self.address, frame_actions=self.frame_actions)
        self.fps = round(worlds.metadata["render_fps"])
        self.features = {"action": _feature(FeatureType.ACTION, (worlds.action_size,))}
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        self.features["agent_pos"] = _feature(FeatureType.STATE, (worlds.state_size,))
        for name, (height, width) in worlds.cameras.items():
            self.features[f"pixels/{name}"] = _feature(FeatureType.VISUAL, (height, width, 3))
            self.features_map[f"pixels/{name}"] = f"observation.images.{name}"
        worlds.close()

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Nothing: `create_envs` makes the worlds."""
        return {}

    def create_envs(self, n_envs: int, *_: Any, **__: Any) -> dict[str, dict[int, RemoteWorlds]]:
        """The served worlds."""
        worlds = RemoteWorlds(self.address, frame_actions=self.frame_actions)
        if worlds.num_envs != n_envs:
            found = worlds.num_envs
            worlds.close()
            raise UserError(
                f"{self.address} serves {found} worlds, and lerobot asks for {n_envs}; give "
                f"--eval.batch_size={found} or serve-world --world.batch {n_envs}"
            )
        return {"roboscape": {0: worlds}}


def _feature(kind: Any, shape: tuple[int, ...]) -> PolicyFeature:
    return PolicyFeature(type=kind, shape=tuple(shape))
