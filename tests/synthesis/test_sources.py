"""Where actions come from: replayed, perturbed and moved demonstrations."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.controls.proprioception import Proprioception
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.cameras import CameraPose, project
from roboscape.dataset.records import CameraGeometry, CameraSpec, DatasetSpec
from roboscape.synthesis.perturb import Perturbation, at_speed, perturbed
from roboscape.synthesis.plan import Demonstrations, Replay, arm_of, fitted, grasp_row
from roboscape.synthesis.reach import ArmRange, Reach
from roboscape.synthesis.recombine import Scene, scene_of

GRIPPER = 6


@pytest.fixture(scope="module")
def reach():
    return Reach.of(Proprioception.from_pretrained("lift", subfolder="proprioception"))


@pytest.fixture(scope="module")
def state():
    """The arm as an episode begins (seed 800100): joints and hand fit together, unlike a mean's."""
    hand = [-0.1565, 0.07, 0.9361, 0.9887, 0.1461, 0.0339, 0.0005]
    fingers, joints = [0.0391, -0.0392], [0.0797, 0.3785, 0.026, -2.6709, -0.3049, 3.116, 0.9006]
    return np.array([*hand, *fingers, *joints], np.float32)


@pytest.fixture(scope="module")
def actions():
    """Down and aside for 30 rows, then close and up."""
    moves = np.zeros((60, 7), np.float32)
    moves[:30, :3] = [0.1, -0.15, -0.25]
    moves[40:, 2] = 0.3
    moves[:, GRIPPER] = np.where(np.arange(60) < 30, -1, 1)
    return moves


@pytest.fixture
def known(lift_dataset):
    return Demonstrations.of(lift_dataset, split="test", successes=True)


def test_replay_takes_the_recorded_actions_and_never_repeats_them_silently(known, lift_dataset):
    source = Replay(demonstrations=known, rows=20, repeats=False)
    plan = source.plan(7, number=0)
    assert plan.start.episode == 1 and plan.split == "test" and plan.seed == 7
    np.testing.assert_array_equal(plan.actions[:17], lift_dataset.actions(1))
    assert (plan.actions[17:, :2] == 0).all(), "the arm rests after the last action"
    assert (plan.actions[17:, 2] == lift_dataset.actions(1)[-1, 2]).all(), "the gripper holds"
    with pytest.raises(ValueError, match="more episodes would repeat"):
        source.plan(8, number=1)
    again = Replay(demonstrations=known, rows=20, repeats=True).plan(8, number=1)
    np.testing.assert_array_equal(again.actions, plan.actions)


def test_a_split_without_demonstrations_is_refused(lift_dataset):
    with pytest.raises(ValueError, match="no succeeding episode for train"):
        Demonstrations.of(lift_dataset, split="train", successes=True)


def test_the_grasp_is_where_the_open_gripper_closes(actions, reach):
    assert grasp_row(actions, reach.convention) == 30
    held = actions.copy()
    held[:, GRIPPER] = 1
    assert grasp_row(held, reach.convention) is None


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_another_speed_commands_the_same_path(actions, reach, factor):
    changed = at_speed(actions, factor, convention=reach.convention)
    assert len(changed) == round(60 / factor)
    np.testing.assert_allclose(changed[:, :6].sum(0), actions[:, :6].sum(0), atol=1e-4)
    closes = grasp_row(changed, reach.convention)
    assert closes == pytest.approx(30 / factor, abs=1.5)


def test_a_detour_ends_where_the_demonstration_closed_the_gripper(actions, reach, state):
    place_m = reach.hand_m(actions[:30], state)[-1]
    for seed in range(3):
        changed, about = perturbed(
            actions,
            reach,
            settings=Perturbation(),
            share=1.0,
            generator=numpy_generator_for(seed),
        )
        row = about["grasp_row"]
        aimed, missed_m = reach.aimed(changed, state, row=row, place_m=place_m)
        assert missed_m < 0.01
        assert np.linalg.norm(reach.hand_m(aimed[:row], state)[-1] - place_m) == pytest.approx(
            missed_m, abs=1e-5
        )
        assert np.abs(aimed).max() <= 1 and grasp_row(aimed, reach.convention) == row
        # It is another way, not the same one.
        before = reach.hand_m(actions, state)[15]
        assert np.linalg.norm(reach.hand_m(aimed, state)[15] - before) > 0.001


@pytest.mark.parametrize("offset_m", [[0.05, 0, 0], [0, -0.06, 0.02]])
def test_aiming_brings_the_imagined_hand_to_another_place(actions, reach, state, offset_m):
    place_m = reach.hand_m(actions[:30], state)[-1] + np.array(offset_m)
    aimed, missed_m = reach.aimed(actions, state, row=30, place_m=place_m)
    assert missed_m < 0.004
    assert (aimed[:, GRIPPER] == actions[:, GRIPPER]).all()
    np.testing.assert_array_equal(aimed[30:], actions[30:])


def test_a_place_that_cannot_be_reached_is_said_to_be_missed(actions, reach, state):
    place_m = reach.hand_m(actions[:30], state)[-1] + np.array([1.0, 0, 0])
    assert reach.aimed(actions, state, row=30, place_m=place_m)[1] > 0.2


def test_states_outside_the_range_count_by_their_deviations():
    states = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    known = ArmRange.of(states)
    inside = np.zeros((3, 2))
    assert known.excess(inside) == 0
    outside = inside.copy()
    outside[1, 0] = known.high[0] + 2
    assert known.excess(outside) == pytest.approx(2, rel=0.05)


def test_absolute_actions_cannot_be_perturbed(reach):
    arm = Proprioception(
        replace(reach.arm.config, convention=replace(reach.convention, mode="absolute"))
    )
    with pytest.raises(ValueError, match="absolute actions"):
        Reach.of(arm)
    with pytest.raises(ValueError, match="no arm model"):
        arm_of(None, source="perturb")


def test_rest_follows_where_actions_end(actions, reach):
    long = fitted(actions, rows=64, convention=reach.convention)
    np.testing.assert_array_equal(long[:60], actions)
    assert (long[60:, :6] == 0).all() and (long[60:, GRIPPER] == 1).all()
    assert len(fitted(actions, rows=10, convention=reach.convention)) == 10


def test_the_cube_is_found_in_the_world_from_pixels_and_depth(reach):
    pose = CameraPose(
        position_m=np.array([0.0, 0.0, 1.5]),
        camera_to_world=np.eye(3),
        focal_px=100.0,
        height=128,
        width=128,
    )
    spec = DatasetSpec(
        fps=20.0,
        robot_type="panda",
        cameras=(
            CameraSpec(
                name="above",
                height=128,
                width=128,
                has_depth=True,
                geometry=CameraGeometry(
                    mount="world",
                    position_m=(0.0, 0.0, 1.5),
                    quaternion_xyzw=(0.0, 0.0, 0.0, 1.0),
                    focal_px=100.0,
                ),
            ),
        ),
        state_names=("eef_x", "eef_y", "eef_z"),
        action=reach.convention,
    )
    cube_m = np.array([0.2, -0.1, 0.8])
    (centre,) = project(cube_m[None], pose)
    x, y = centre[:2].round().astype(int)
    rgb = np.full((128, 128, 3), 220, np.uint8)
    depth_m = np.full((128, 128), 0.75, np.float32)
    rgb[y - 5 : y + 6, x - 5 : x + 6] = (150, 30, 30)
    depth_m[y - 5 : y + 6, x - 5 : x + 6] = 0.7
    state = np.array([0.0, 0.0, 1.0], np.float32)
    scene = scene_of(spec, camera="above", rgb=rgb, depth_m=depth_m, state=state)
    np.testing.assert_allclose(scene.object_m, cube_m, atol=0.005)
    np.testing.assert_array_equal(scene.hand_m, [0, 0, 1])
    rgb[:] = 220
    assert scene_of(spec, camera="above", rgb=rgb, depth_m=depth_m, state=state) is None


def test_starts_are_alike_where_the_object_lies_alike_from_the_hand():
    def scene(hand_m, object_m):
        return Scene(
            hand_m=np.array(hand_m, float),
            hand_to_world=np.eye(3),
            object_m=np.array(object_m, float),
        )

    one = scene([0, 0, 1], [0.1, 0, 0.8])
    assert one.distance_m(scene([0.5, 0, 1], [0.6, 0, 0.8])) == pytest.approx(0, abs=1e-6)
    assert one.distance_m(scene([0, 0, 1], [0.2, 0, 0.8])) == pytest.approx(0.1)
