import json
from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.core.video import count_frames
from roboscape.policies import run as module
from roboscape.policies.run import RunPolicy, run
from roboscape.policies.worlds import WorldChoice, learned_simulator, open_world, starts_of
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.success import TrueSuccess
from tests.policies.remembering_policy import RememberingPolicy
from tests.simulators.counting_simulator import CountingSimulator


@pytest.fixture
def config(tmp_path):
    return RunPolicy(policy="it", output=tmp_path / "out", episodes=4, seed=1, seconds=0.6)


@pytest.fixture
def began(monkeypatch):
    """Seeds whose episodes began, in a simulator that counts."""
    seeds = []

    class Noting(CountingSimulator):
        def reset(self, starts, *, where=None):
            seeds.extend(start.seed for start in starts)
            return super().reset(starts, where=where)

    monkeypatch.setattr(module, "open_policy", lambda name, **settings: RememberingPolicy())
    monkeypatch.setattr(module, "open_world", lambda world: (Noting(2), TrueSuccess()))
    return seeds


def test_the_rate_is_that_of_the_starts(config, began):
    found = run(config)
    # Three frames are allowed: seeds 1, 2 and 3 succeed within, 4 does not.
    assert (found["successes"], found["episodes"]) == (3, 4)
    assert json.loads((config.output / "success.json").read_text())["successes"] == 3
    assert sorted(began) == [1, 2, 3, 4]


def test_an_interrupted_run_goes_on_with_what_is_missing(config, began):
    run(config)
    lines = (config.output / "episodes.jsonl").read_text().splitlines()
    # The last line was cut off in the middle.
    (config.output / "episodes.jsonl").write_text("\n".join([*lines[:3], lines[3][:9]]))
    began.clear()
    assert run(config)["episodes"] == 4
    assert set(began) == {json.loads(lines[3])["seed"]}
    began.clear()
    assert run(config)["episodes"] == 4
    assert not began, "what was added after the cut line is there"


def test_the_first_episodes_are_filmed_whole(config, began):
    run(replace(config, videos=2))
    videos = sorted((config.output / "videos").iterdir())
    assert [video.name for video in videos] == ["1.mp4", "2.mp4"]
    assert [count_frames(video) for video in videos] == [2, 3]


def test_measuring_nothing_is_refused(config):
    with pytest.raises(UserError, match="episodes >= 1"):
        replace(config, episodes=0)


def test_equal_seeds_begin_alike_in_the_true_and_in_a_learned_simulator():
    choice = WorldChoice(image_size=32, batch=1)
    true, _ = open_world(choice)
    seen = true.reset(starts_of(choice, [5]))
    (start,) = starts_of(replace(choice, bundle="lift"), [5])
    np.testing.assert_array_equal(start.rgb["agentview"], seen.rgb["agentview"][0])
    np.testing.assert_array_equal(start.state, seen.state[0])
    assert starts_of(choice, [5]) == [SeedStart(seed=5)]
    true.close()


def test_planning_needs_no_rule_for_imagined_video_and_measuring_policies_does():
    pytest.importorskip("metaworld", reason="the simulators are not installed")
    choice = WorldChoice(bundle="metaworld", task="metaworld/door-open", frame_hz=10.0, batch=1)
    with pytest.raises(UserError, match="no rule says"):
        open_world(choice)
    assert learned_simulator(choice).spec.state_names[:3] == ("hand_x", "hand_y", "hand_z")
