import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError
from roboscape.dataset import layout
from roboscape.dataset.cameras import (
    CameraPose,
    camera_pose,
    geometry_of,
    hand_columns,
    hand_pose,
    named_hand,
)
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec, DatasetSpec
from roboscape.dataset.writer import DatasetWriter
from roboscape.sources.readers.prepare import Preparation, prepared_spec

NAMES = tuple(f"eef_{axis}" for axis in "xyz") + tuple(f"eef_quaternion_{axis}" for axis in "xyzw")
numbers = st.floats(-2, 2)
turns = st.tuples(numbers, numbers, numbers).map(lambda turn: Rotation.from_rotvec(turn))


def pose_at(position_m, rotation) -> CameraPose:
    return CameraPose(
        position_m=np.array(position_m, float),
        camera_to_world=rotation.as_matrix(),
        focal_px=77.25,
        height=64,
        width=48,
    )


def spec_of(geometry, names=NAMES) -> DatasetSpec:
    camera = CameraSpec(name="wrist", height=64, width=48, geometry=geometry)
    return DatasetSpec(
        fps=20.0,
        robot_type="panda",
        cameras=(camera,),
        state_names=names,
        action=unknown_convention(("x",), action_hz=20.0),
    )


def state_of(position_m, rotation) -> np.ndarray:
    return np.concatenate([position_m, rotation.as_quat()])


@given(turns, turns, turns, st.tuples(numbers, numbers, numbers))
def test_a_camera_on_the_hand_moves_as_one_body_with_it(camera, before, after, place):
    pose = pose_at([0.3, -0.2, 1.0], camera)
    first, second = state_of([0.1, 0.0, 0.9], before), state_of(place, after)
    spec = spec_of(geometry_of(pose, hand=hand_pose(NAMES, first)))
    same = camera_pose(spec, "wrist", first)
    np.testing.assert_allclose(same.position_m, pose.position_m, atol=1e-5)
    np.testing.assert_allclose(same.camera_to_world, pose.camera_to_world, atol=1e-5)
    moved = camera_pose(spec, "wrist", second)
    # What the hand went through, the camera went through.
    turned = after * before.inv()
    there = turned.apply(pose.position_m - first[:3]) + np.array(place)
    np.testing.assert_allclose(moved.position_m, there, atol=2e-5)
    np.testing.assert_allclose(
        moved.camera_to_world, turned.as_matrix() @ pose.camera_to_world, atol=2e-5
    )


def test_a_camera_in_the_world_stays_where_it_is_whatever_the_robot_does():
    pose = pose_at([0.5, 0.0, 1.35], Rotation.from_rotvec([0.3, -0.8, 1.0]))
    spec = spec_of(geometry_of(pose))
    found = camera_pose(spec, "wrist", state_of([9.0, 9.0, 9.0], Rotation.identity()))
    np.testing.assert_allclose(found.position_m, pose.position_m, atol=1e-6)
    np.testing.assert_allclose(found.camera_to_world, pose.camera_to_world, atol=1e-5)
    assert (found.focal_px, found.height, found.width) == (77.25, 64, 48)


def test_a_hand_without_a_recorded_rotation_has_the_axes_of_the_world():
    names = ("hand_x", "hand_y", "hand_z", "gripper")
    place, rotation = hand_pose(names, np.array([1.0, 2.0, 3.0, 0.5]))
    np.testing.assert_array_equal(place, [1, 2, 3])
    np.testing.assert_array_equal(rotation, np.eye(3))


@pytest.mark.parametrize("noise", [1e-9, -1e-9])
def test_noise_of_single_precision_does_not_change_what_is_kept(noise):
    # Half a turn: its real part is zero, and noise decides between a quaternion and its opposite.
    half_turn = Rotation.from_rotvec(np.pi * np.array([1, 1, 0]) / np.sqrt(2))
    clean = geometry_of(pose_at([0.05, 0.0, -0.097], half_turn))
    tilted = half_turn * Rotation.from_rotvec([noise, noise, 0])
    assert geometry_of(pose_at([0.05 + noise, noise, -0.097], tilted)) == clean
    assert clean.quaternion_xyzw == (0.707107, 0.707107, 0.0, 0.0)


def test_what_is_missing_is_named():
    state = np.zeros(len(NAMES))
    with pytest.raises(ValueError, match="no camera 'front'; it has: wrist"):
        camera_pose(spec_of(None), "front", state)
    with pytest.raises(ValueError, match="does not say where camera 'wrist' is"):
        camera_pose(spec_of(None), "wrist", state)
    pose = pose_at([0, 0, 0], Rotation.identity())
    on_hand = geometry_of(pose, hand=(np.zeros(3), np.eye(3)))
    with pytest.raises(ValueError, match="needs the hand's position"):
        camera_pose(spec_of(on_hand, names=("joint_1",)), "wrist", np.zeros(1))


def test_geometry_survives_its_trip_through_a_dataset(tmp_path, spec, make_episode):
    geometry = geometry_of(pose_at([0.1, 0.2, 0.3], Rotation.from_rotvec([0.1, 0.2, 0.3])))
    front, wrist = spec.cameras
    spec = replace(spec, cameras=(replace(front, geometry=geometry), wrist))
    with DatasetWriter(tmp_path, spec) as writer:
        writer.add(make_episode())
    assert LeRobotDataset(tmp_path).spec == spec
    assert LeRobotDataset(tmp_path).spec.cameras[1].geometry is None


def test_datasets_that_were_written_before_there_was_geometry_are_read(dataset, spec):
    path = dataset / layout.SPEC_PATH
    content = json.loads(path.read_text())
    for camera in content["cameras"]:
        del camera["geometry"]
    path.write_text(json.dumps(content))
    assert LeRobotDataset(dataset).spec == spec


def test_resized_recordings_keep_what_their_cameras_see():
    pose = pose_at([0.1, 0.2, 0.3], Rotation.identity())
    spec = spec_of(geometry_of(pose))
    small = prepared_spec(spec, Preparation(camera=(), image_size=24))
    # The middle 48 pixels in 24: half as many pixels a radian.
    found = camera_pose(small, "wrist", np.zeros(len(NAMES)))
    assert (found.focal_px, found.height, found.width) == (77.25 / 2, 24, 24)


def test_the_hand_is_found_by_its_name_whatever_a_source_calls_it():
    assert hand_columns(("joint_1", "eef_z", "eef_y", "eef_x")) == [3, 2, 1]
    assert hand_columns(("hand_x", "hand_y", "hand_z", "eef_x")) == [0, 1, 2]
    with pytest.raises(UserError, match="eef_x, eef_y, eef_z or hand_x"):
        hand_columns(("eef_x", "eef_y", "hand_z"))
    assert named_hand(("hand_x", "hand_y", "hand_z", "eef_x", "eef_y", "eef_z")) == "eef"
    assert named_hand(("eef_x", "eef_y", "hand_z")) is None
