from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.collect.metaworld import (
    CollectMetaworld,
    MetaworldRecorder,
    metaworld_spec,
    run,
    task_of,
)
from roboscape.core.config import config_from_dict
from roboscape.dataset.cameras import project
from roboscape.dataset.checks import check_episode
from roboscape.dataset.records import DatasetSpec
from roboscape.sources.metaworld import make_environment, place_camera
from roboscape.sources.metaworld_tasks import TASK_TEXTS, choose_tasks
from roboscape.sources.proportions import Proportions
from roboscape.sources.simulation import SceneRenderer


@pytest.fixture(scope="module")
def config() -> CollectMetaworld:
    return CollectMetaworld(
        output=Path("unused"), episodes=1, tasks=("drawer-open", "pick-place"), horizon=12
    )


@pytest.fixture(scope="module")
def episode(config):
    return MetaworldRecorder(config).simulate(4)


def test_an_episode_depends_on_its_seed_alone(config, episode):
    simulator = MetaworldRecorder(config)
    other, again = simulator.simulate(6), simulator.simulate(4)
    assert not np.array_equal(other.actions, episode.actions)
    for field in ("actions", "state", "reward"):
        np.testing.assert_array_equal(getattr(again, field), getattr(episode, field))
    np.testing.assert_array_equal(again.frames["corner2"], episode.frames["corner2"])
    np.testing.assert_array_equal(again.depth_m["corner2"], episode.depth_m["corner2"])


def test_an_episode_fits_its_spec(config, episode):
    check_episode(episode, metaworld_spec(config), where="the episode")
    assert episode.task == TASK_TEXTS["drawer-open"]
    assert len(episode) == 12 and np.abs(episode.actions).max() <= 1
    travel_px = np.linalg.norm(
        episode.tracks["corner2"].xy_px[-1] - episode.tracks["corner2"].xy_px[0], axis=-1
    )
    moves = episode.tracks["corner2"].on_moving_body
    assert travel_px[moves].max() > 2 and travel_px[~moves].max() < 1e-3


def test_the_camera_is_upright_and_sees_the_hand():
    environment = make_environment("reach", seed=0)
    model, data = environment.model, environment.data
    for camera in ("corner2", "corner3", "behindGripper"):
        place_camera(model, data, camera)
        renderer = SceneRenderer(model, camera=camera, height=64, width=64, geom_groups=(0, 1, 2))
        pose = renderer.camera_pose(data)
        hand_m = data.body("hand").xpos
        low, high = project(np.stack([hand_m, hand_m + np.array([0, 0, 0.1])]), pose)
        renderer.close()
        assert high[1] < low[1]
        assert 0 < low[0] < 64 and 0 < low[1] < 64 and low[2] > 0


def test_tasks_take_turns_and_every_task_exists():
    from metaworld.policies import ENV_POLICY_MAP

    assert [task_of(seed, ("a", "b")) for seed in range(4)] == ["a", "b", "a", "b"]
    assert {f"{task}-v3" for task in TASK_TEXTS} == set(ENV_POLICY_MAP)
    assert len(choose_tasks(("all",))) == 50
    assert choose_tasks(("reach-v3", "push")) == ("reach", "push")


@pytest.mark.parametrize("names", [("fly",), ()])
def test_unknown_tasks_are_refused_with_the_known_ones(names, tmp_path):
    config = CollectMetaworld(output=tmp_path / "d", episodes=1, tasks=names)
    with pytest.raises(
        ValueError, match=r"has no task (fly|\(none named\)); name `all`.*reach-wall"
    ):
        run(config)
    assert not (tmp_path / "d").exists()


def test_an_impossible_horizon_is_refused():
    with pytest.raises(ValueError, match="between 1 and 500, got 501"):
        MetaworldRecorder(CollectMetaworld(output=Path("d"), episodes=1, horizon=501))


@pytest.mark.slow
def test_experts_solve_and_misses_mostly_fail():
    tasks = ("drawer-open", "door-open", "window-open", "pick-place", "coffee-pull")
    solved = {}
    for behaviour in ("expert", "miss"):
        shares = dict.fromkeys(("expert", "noisy_expert", "miss", "random"), 0.0)
        config = CollectMetaworld(
            output=Path("unused"),
            episodes=5,
            tasks=tasks,
            image_size=32,
            proportions=Proportions(**{**shares, behaviour: 1.0}),
        )
        simulator = MetaworldRecorder(config)
        solved[behaviour] = sum(simulator.simulate(seed).success for seed in range(5))
    assert solved["expert"] >= 4
    assert solved["miss"] < solved["expert"]


def test_colours_alone_leave_the_usual_camera(config, episode):
    painted = replace(config, random_scenes="colours")
    other = MetaworldRecorder(painted).simulate(4)
    np.testing.assert_array_equal(other.actions, episode.actions)
    np.testing.assert_array_equal(other.depth_m["corner2"], episode.depth_m["corner2"])
    moved = np.abs(other.frames["corner2"].astype(int) - episode.frames["corner2"])
    assert moved.mean() > 10
    elsewhere = MetaworldRecorder(replace(config, random_scenes="all")).simulate(4)
    assert not np.allclose(elsewhere.depth_m["corner2"], episode.depth_m["corner2"], atol=0.05)


def test_a_dataset_says_what_was_drawn_anew(config):
    usual = metaworld_spec(config)
    for drawn in ("none", "colours", "all"):
        spec = metaworld_spec(replace(config, random_scenes=drawn))
        assert spec.drawn == drawn
        assert (spec.depth_max_m == usual.depth_max_m) == (drawn != "all")
        content = asdict(spec)
        del content["random_cameras"]  # as in datasets that were made before this was known
        found = config_from_dict(DatasetSpec, content, where="here").drawn
        assert found == ("none" if drawn == "none" else "all")
