import numpy as np
import pytest

from roboscape.collect.recording import record_episode
from roboscape.core.errors import UserError
from roboscape.policies.episodes import EpisodePlan, run_episodes
from roboscape.policies.scripted import ScriptedPolicy
from roboscape.policies.worlds import EXPERT
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.success import TrueSuccess


@pytest.fixture(scope="module")
def every_row():
    """One Lift world that shows a frame for each native action."""
    simulator = MujocoSimulator(
        "Lift", 1, image_size=32, supersampling=1, frame_hz=20.0, proportions=EXPERT
    )
    yield simulator
    simulator.close()


def test_a_script_solves_the_task_as_it_does_in_the_recording_of_its_seed(every_row):
    seeds = [800_001, 800_002]
    recorded = [record_episode(every_row, seed=seed, rows=90) for seed in seeds]
    plan = EpisodePlan(starts=[SeedStart(seed=seed) for seed in seeds], seeds=seeds, max_frames=90)
    found = run_episodes(every_row, ScriptedPolicy(every_row), plan, success=TrueSuccess())
    for one, episode in zip(found, recorded, strict=True):
        assert one.success
        assert one.frames == int(np.flatnonzero(episode.reward)[0])
        np.testing.assert_array_equal(one.actions, episode.actions[: one.frames])


def test_a_script_is_refused_where_it_would_not_see_every_action():
    slow = MujocoSimulator("Lift", 1, image_size=32, supersampling=1, frame_hz=5.0)
    with pytest.raises(UserError, match="make it with frame_hz=20"):
        ScriptedPolicy(slow)
    slow.close()
