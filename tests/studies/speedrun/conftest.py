"""The fixtures of the world model's tests."""

from tests.world_model.conftest import *  # noqa: F403
