from pathlib import Path

import numpy as np
import pytest

from roboscape.collect.lift import CollectLift, LiftRecorder, lift_spec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import EpisodeStart, FrameStart, SeedStart, Simulator, fork
from roboscape.sources.proportions import Proportions

SEEDS = [SeedStart(seed=3), SeedStart(seed=11)]


def parts(observation, world):
    """Everything that is to be seen in one world."""
    images = [*observation.rgb.values(), *observation.depth_m.values()]
    return [image[world] for image in images] + [
        observation.state[world],
        observation.success[world],
    ]


def assert_equal(found, expected, *, worlds=((0, 0), (1, 1))):
    """Worlds of a future equal worlds of another, bit for bit."""
    for one, other in zip(found, expected, strict=True):
        for here, there in worlds:
            for a, b in zip(parts(one, here), parts(other, there), strict=True):
                np.testing.assert_array_equal(a, b)


def random_actions(simulator, generator, *, frames=4, gripper=-1.0):
    size = len(simulator.spec.action.names)
    shape = (frames, simulator.batch, simulator.spec.stride, size)
    actions = generator.uniform(-1, 1, shape).astype(np.float32)
    # Moved one way, so that the gripper's controller is not back where it was by chance.
    actions[..., -1] = gripper
    return actions


def play(simulator, actions):
    return [simulator.step(action) for action in actions]


@pytest.fixture(scope="module", params=["Lift", "metaworld/door-open", "metaworld/pick-place"])
def running(request, true_lift):
    """Two worlds of a task, some frames after their reset."""
    simulator = (
        true_lift
        if request.param == "Lift"
        else MujocoSimulator(request.param, 2, image_size=48, supersampling=1)
    )
    simulator.reset(SEEDS)
    play(simulator, random_actions(simulator, np.random.default_rng(1), frames=2, gripper=1.0))
    yield simulator
    if simulator is not true_lift:
        simulator.close()


def test_it_is_a_simulator(running):
    assert isinstance(running, Simulator)


def test_a_restored_snapshot_has_the_same_future(running, generator):
    snapshot = running.snapshot()
    actions = random_actions(running, generator)
    expected = play(running, actions)
    restored = running.restore(snapshot)
    assert not np.array_equal(restored.state, expected[-1].state)
    assert_equal(play(running, actions), expected)
    # A snapshot is not used up, and stepping left it alone.
    running.restore(snapshot)
    assert_equal(play(running, actions), expected)
    running.restore(snapshot)


def test_another_simulator_goes_on_from_a_snapshot(running, generator):
    snapshot = running.snapshot()
    actions = random_actions(running, generator, frames=3)
    task = running._task
    other = MujocoSimulator(task, image_size=48, supersampling=1)
    restored = other.restore(snapshot, index=np.array([1, 0, 1]))
    for world in other.worlds:
        other._look(world)
    # Also a script that looks at the scene, or whoever renders it again, sees what was left.
    assert_equal([other._observation()], [restored], worlds=((0, 0), (1, 1), (2, 2)))
    found = play(other, actions[:, [1, 0, 1]])
    other.close()
    expected = play(running, actions)
    assert_equal(found, expected, worlds=((0, 1), (1, 0), (2, 1)))
    running.restore(snapshot)


def test_forks_with_equal_actions_have_equal_futures(running, generator):
    snapshot = running.snapshot()
    fork(running, 2)
    assert running.batch == 4
    actions = random_actions(running, generator, frames=3)
    actions[:, 1] = actions[:, 0]
    future = play(running, actions)
    assert_equal(future, future, worlds=((0, 1),))
    assert not np.array_equal(future[-1].state[2], future[-1].state[3])
    running.restore(snapshot)
    assert running.batch == 2


def test_worlds_do_not_touch_each_other(running, generator):
    snapshot = running.snapshot()
    actions = random_actions(running, generator, frames=3)
    expected = play(running, actions)
    running.restore(snapshot)
    found = [running.step(actions[0])]
    running.reset([SeedStart(seed=20)], where=np.array([True, False]))
    found.append(running.step(actions[1]))
    running.restore(snapshot, where=np.array([True, False]), index=np.array([0]))
    found.append(running.step(actions[2]))
    assert_equal(found, expected, worlds=((1, 1),))
    running.restore(snapshot)


def test_a_reset_depends_on_the_seed_alone(running):
    first = running.reset(SEEDS)
    play(running, random_actions(running, np.random.default_rng(2), frames=2))
    assert_equal([running.reset(SEEDS[::-1])], [first], worlds=((0, 1), (1, 0)))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two recorded episodes of 13 rows, and the dataset that they are in."""
    config = CollectLift(output=Path("unused"), episodes=1, horizon=13, image_size=48)
    recorder = LiftRecorder(config)
    episodes = [recorder.simulate(seed) for seed in (0, 5)]
    recorder.close()
    root = tmp_path_factory.mktemp("lift") / "dataset"
    with DatasetWriter(root, lift_spec(config)) as writer:
        for episode in episodes:
            writer.add(episode)
    return LeRobotDataset(root), episodes


def test_a_seed_begins_as_its_recorded_episode_and_goes_on_as_it(recorded):
    _, episodes = recorded
    simulator = MujocoSimulator("Lift", 2, image_size=48)
    seen = [simulator.reset([SeedStart(seed=0), SeedStart(seed=5)])]
    for row in range(0, 12, 4):
        seen.append(simulator.step(np.stack([e.actions[row : row + 4] for e in episodes])))
    simulator.close()
    for frame, observation in enumerate(seen):
        for world, episode in enumerate(episodes):
            row = 4 * frame
            np.testing.assert_array_equal(observation.state[world], episode.state[row])
            np.testing.assert_array_equal(
                observation.rgb["agentview"][world], episode.frames["agentview"][row]
            )
            np.testing.assert_array_equal(
                observation.depth_m["agentview"][world], episode.depth_m["agentview"][row]
            )
            assert observation.success[world] == episode.reward[row]


def test_a_row_of_a_recorded_episode_is_reached_by_its_actions(recorded, true_lift):
    dataset, episodes = recorded
    observation = true_lift.reset(
        [
            EpisodeStart(dataset=dataset, episode=1, row=7),
            EpisodeStart(dataset=dataset, episode=0, row=12),
        ]
    )
    np.testing.assert_array_equal(observation.state[0], episodes[1].state[7])
    np.testing.assert_array_equal(observation.state[1], episodes[0].state[12])


def test_a_replay_that_departs_from_the_recording_is_refused(recorded, true_lift, monkeypatch):
    dataset, _ = recorded
    actions = dataset.actions(0)
    monkeypatch.setattr(dataset, "actions", lambda _: -actions)
    with pytest.raises(ValueError, match="to row 12 misses the recorded state by"):
        true_lift.reset(
            [EpisodeStart(dataset=dataset, episode=0, row=12)], where=np.array([True, False])
        )


def test_starts_that_do_not_fit_are_refused(recorded, true_lift):
    dataset, _ = recorded
    one = np.array([True, False])
    frame = FrameStart(rgb={}, state=np.zeros(16))
    with pytest.raises(ValueError, match="needs the pose of every object"):
        true_lift.reset([frame], where=one)
    with pytest.raises(ValueError, match="one start for each of 2 worlds, got 1"):
        true_lift.reset([SeedStart(seed=0)])
    with pytest.raises(ValueError, match="rows 0 to 12, got 13"):
        true_lift.reset([EpisodeStart(dataset=dataset, episode=0, row=13)], where=one)
    door = MujocoSimulator("metaworld/door-open", image_size=48)
    with pytest.raises(
        ValueError, match=r"recorded with robosuite 1\.5\.2 Lift, not with metaworld"
    ):
        door.reset([EpisodeStart(dataset=dataset, episode=0)])
    door.close()


def test_actions_and_worlds_that_do_not_fit_are_refused(true_lift):
    true_lift.reset(SEEDS)
    with pytest.raises(ValueError, match=r"shape \(2, 4, 7\), got \(2, 3, 7\)"):
        true_lift.step(np.zeros((2, 3, 7)))
    with pytest.raises(ValueError, match="finite actions"):
        true_lift.step(np.full((2, 4, 7), np.nan))
    fresh = MujocoSimulator("metaworld/door-open", image_size=48)
    with pytest.raises(ValueError, match="never reset"):
        fresh.step(np.zeros((1, 16, 4)))
    with pytest.raises(ValueError, match="not of a true simulator of metaworld/door-open"):
        fresh.restore(true_lift.snapshot())


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("Stack", {}, "expected the task Lift or metaworld/<name>, got 'Stack'"),
        ("metaworld/fly", {}, "no task fly"),
        ("metaworld/reach", {"frame_hz": 7.0}, "must divide the 80 actions a second"),
        ("metaworld/reach", {"batch": 0}, "at least one world"),
    ],
)
def test_impossible_simulators_are_refused(task, settings, said):
    with pytest.raises(ValueError, match=said):
        MujocoSimulator(task, **settings)


def test_a_script_solves_the_task_from_what_it_sees_of_the_simulators_world():
    only_experts = Proportions(expert=1.0, noisy_expert=0.0, miss=0.0, random=0.0)
    simulator = MujocoSimulator(
        "Lift", image_size=16, supersampling=1, frame_hz=20.0, proportions=only_experts
    )
    solved = [simulator.reset([SeedStart(seed=1)]).success[0]]
    scene = simulator.worlds[0].scene
    script = scene.script(1, behaviour="expert")
    while not solved[-1] and len(solved) < 100:
        solved.append(simulator.step(script(scene.view())[None, None]).success[0])
    simulator.close()
    assert not solved[0] and solved[-1]
