from pathlib import Path

import pytest

from roboscape.collect.lift import CollectLift, LiftRecorder


@pytest.fixture(scope="session")
def lift_config() -> CollectLift:
    return CollectLift(output=Path("unused"), episodes=1, horizon=24)


@pytest.fixture(scope="session")
def lift(lift_config):
    simulator = LiftRecorder(lift_config)
    yield simulator
    simulator.close()


@pytest.fixture(scope="session")
def lift_episode(lift):
    """A short episode in which the arm is in view; simulated once for all tests."""
    return lift.simulate(1)
