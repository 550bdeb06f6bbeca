import numpy as np
import pytest

from roboscape.simulators.mujoco import MujocoSimulator


@pytest.fixture(scope="session")
def true_lift():
    """Two Lift worlds in small images; a test that uses them resets them first."""
    simulator = MujocoSimulator("Lift", 2, image_size=48, supersampling=1)
    yield simulator
    simulator.close()


@pytest.fixture
def generator():
    return np.random.default_rng(0)
