import numpy as np
import pytest

from roboscape.dataset.cameras import project
from roboscape.simulators.protocol import SeedStart
from roboscape.sources.lift import LiftScene, make_environment
from roboscape.sources.lift_behaviours import BEHAVIOURS, LiftScript
from roboscape.sources.osc_pose import OSC_POSE_ACTION


def environment_of(lift):
    (world,) = lift.simulator.worlds
    assert isinstance(world.scene, LiftScene)
    return world.scene._environment


def test_the_convention_is_the_controllers(lift):
    environment = environment_of(lift)
    arm = environment.robots[0].composite_controller.part_controllers["right"]
    np.testing.assert_allclose(arm.output_max, OSC_POSE_ACTION.scale[:6])
    np.testing.assert_allclose(arm.input_max, 1)
    assert (arm.input_type, arm.input_ref_frame) == ("delta", "base")
    assert environment.control_freq == OSC_POSE_ACTION.action_hz


def test_gripper_sign_and_axes_are_as_the_convention_says(lift):
    environment = environment_of(lift)
    lift.simulator.reset([SeedStart(seed=5)])
    commands = {"x": 0, "y": 1, "z": 2}
    for index in commands.values():
        before = environment._get_observations(force_update=True)["robot0_eef_pos"].copy()
        action = np.zeros(7)
        action[index], action[6] = 1.0, -1.0
        for _ in range(4):
            observed = environment.step(action)[0]
        moved = observed["robot0_eef_pos"] - before
        assert np.argmax(np.abs(moved)) == index and moved[index] > 0.01
    opened = np.abs(observed["robot0_gripper_qpos"]).sum()
    for _ in range(6):
        observed = environment.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))[0]
    assert np.abs(observed["robot0_gripper_qpos"]).sum() < opened - 0.02


def test_depth_at_the_cube_and_at_the_table(lift):
    observation = lift.simulator.reset([SeedStart(seed=3)])
    rgb, depth_m = observation.rgb["agentview"][0], observation.depth_m["agentview"][0]
    (world,) = lift.simulator.worlds
    camera = world.renderers["agentview"].camera_pose(world.scene.data)
    cube_m = world.scene.data.body("cube_main").xpos
    x_px, y_px, cube_depth_m = project(cube_m[None], camera)[0]
    seen_m = depth_m[round(y_px), round(x_px)]
    assert 0 < cube_depth_m - seen_m < 0.04
    red, green, _ = rgb[round(y_px), round(x_px)].astype(int)
    assert red > 1.8 * green
    table_m = np.array([[0.1, 0.25, 0.8]])
    x_px, y_px, table_depth_m = project(table_m, camera)[0]
    assert depth_m[round(y_px), round(x_px)] == pytest.approx(table_depth_m, abs=0.006)


def test_environment_is_built_the_same_every_time(lift):
    fresh = make_environment()
    size = fresh.sim.model.geom_size
    np.testing.assert_array_equal(size, environment_of(lift).sim.model.geom_size)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_two_scripts_of_a_seed_act_alike_and_another_seeds_does_not(lift, behaviour):
    lift.simulator.reset([SeedStart(seed=5)])
    view = lift.simulator.worlds[0].scene.view()
    one, two, other = (LiftScript(seed, behaviour=behaviour) for seed in (5, 5, 6))
    for _ in range(3):
        action = one(view)
        np.testing.assert_array_equal(action, two(view))
        assert not np.array_equal(action, other(view))


def test_an_unknown_behaviour_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no behaviour 'juggle'; choose one of expert"):
        LiftScript(0, behaviour="juggle")
