from tests.sources.conftest import lift, lift_config, lift_episode

__all__ = ["lift", "lift_config", "lift_episode"]
