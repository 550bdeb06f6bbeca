import json

import h5py
import numpy as np
import pytest

from roboscape.dataset.checks import check_episode
from roboscape.sources.readers import robomimic
from roboscape.sources.readers.robosuite_control import osc_convention


@pytest.fixture
def source(tmp_path):
    return robomimic.example(tmp_path / "recordings")


def arguments(**controller):
    return {"env_kwargs": {"controller_configs": controller}}


def test_an_episode_is_what_the_file_holds(source):
    reader = robomimic.open_recordings(source)
    spec = reader.spec()
    assert (spec.fps, spec.robot_type, spec.source) == (20.0, "Panda", "robomimic Lift")
    assert spec.state_names[:4] == ("eef_x", "eef_y", "eef_z", "eef_quaternion_x")
    episode = reader.read("image.hdf5/demo_1")
    with h5py.File(source) as file:
        demo = file["data/demo_1"]
        np.testing.assert_array_equal(episode.frames["agentview"], demo["obs/agentview_image"])
        np.testing.assert_array_equal(
            episode.depth_m["agentview"], demo["obs/agentview_depth"][..., 0]
        )
        np.testing.assert_array_equal(episode.actions, demo["actions"][()].astype(np.float32))
        expected = np.concatenate(
            [demo[f"obs/robot0_{name}"] for name in ("eef_pos", "eef_quat", "gripper_qpos")], 1
        )
    np.testing.assert_array_equal(episode.state, expected.astype(np.float32))
    assert (episode.task, episode.success) == ("Lift", True)
    assert reader.read("image.hdf5/demo_2").split == "validation"


def test_demonstrations_are_in_order_of_their_numbers(source):
    with h5py.File(source, "r+") as file:
        file["data"].move("demo_2", "demo_10")
    reader = robomimic.open_recordings(source)
    assert reader.keys() == [f"image.hdf5/demo_{number}" for number in (0, 1, 10)]


def test_a_truncated_file_costs_only_its_own_demonstrations(source):
    whole = source.read_bytes()
    (source.parent / "a_broken.hdf5").write_bytes(whole[: len(whole) // 2])
    reader = robomimic.open_recordings(source.parent)
    assert reader.keys()[0] == "a_broken.hdf5/"
    assert len(reader.keys()) == 4
    with pytest.raises(ValueError, match=r"a_broken\.hdf5 cannot be read as HDF5 .*truncated"):
        reader.read("a_broken.hdf5/")
    check_episode(reader.read("image.hdf5/demo_0"), reader.spec(), where="the whole one")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("actions", r"image\.hdf5: expected the array 'actions' in /data/demo_0, which holds"),
        ("obs/agentview_image", r"image\.hdf5: expected the array 'agentview_image'"),
        ("obs/robot0_eef_pos", r"image\.hdf5: expected the array 'robot0_eef_pos'"),
    ],
)
def test_what_is_missing_is_named(source, missing, message):
    with h5py.File(source, "r+") as file:
        del file[f"data/demo_0/{missing}"]
        # The other demonstrations say what this one lacks.
        file["data"].move("demo_0", "demo_9")
    with pytest.raises(ValueError, match=message.replace("demo_0", "demo_9")):
        robomimic.open_recordings(source).read("image.hdf5/demo_9")


def test_actions_of_another_width_are_refused(source):
    with h5py.File(source, "r+") as file:
        del file["data/demo_1/actions"]
        file["data/demo_1/actions"] = np.zeros((8, 4))
    with pytest.raises(ValueError, match=r"actions of shape …x7, got \(8, 4\)"):
        robomimic.open_recordings(source).read("image.hdf5/demo_1")


def test_a_file_without_images_says_how_to_make_them(source):
    with h5py.File(source, "r+") as file:
        for demo in file["data"].values():
            del demo["obs/agentview_image"]
    with pytest.raises(ValueError, match="dataset_states_to_obs"):
        robomimic.open_recordings(source).spec()


def test_the_controller_says_what_actions_mean():
    delta = osc_convention(arguments(type="OSC_POSE", output_max=0.1), width=7, hz=20.0)
    assert (delta.mode, delta.scale) == ("delta", (0.1,) * 6 + (1.0,))
    absolute = osc_convention(arguments(type="OSC_POSE", control_delta=False), width=7, hz=20.0)
    assert (absolute.mode, absolute.scale) == ("absolute", (1.0,) * 7)
    position = osc_convention(arguments(type="OSC_POSITION"), width=4, hz=20.0)
    assert position.names == ("eef_x", "eef_y", "eef_z", "gripper")
    assert position.rotation == "none"
    two = osc_convention(arguments(type="OSC_POSE"), width=14, hz=20.0)
    assert two.names[6:8] == ("robot0_gripper", "robot1_eef_x")
    newer = {"body_parts": {"right": {"type": "OSC_POSE", "input_type": "absolute"}}}
    assert osc_convention(arguments(**newer), width=7, hz=20.0).mode == "absolute"
    joints = osc_convention(arguments(type="JOINT_VELOCITY"), width=8, hz=20.0)
    assert not joints.known


def test_broken_arguments_are_named(source):
    with h5py.File(source, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({})[:1]
    with pytest.raises(ValueError, match=r"image\.hdf5: /data@env_args is not valid JSON"):
        robomimic.open_recordings(source).spec()
