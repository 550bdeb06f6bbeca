import h5py
import numpy as np
import pytest

from roboscape.sources.readers import libero

DRAWER = "KITCHEN_SCENE1_open_the_drawer_demo.hdf5"


@pytest.fixture
def source(tmp_path):
    return libero.example(tmp_path)


def test_images_are_turned_and_numbers_are_not(source):
    episode = libero.open_recordings(source).read(f"{DRAWER}/demo_1")
    with h5py.File(source / DRAWER) as file:
        demo = file["data/demo_1"]
        stored = demo["obs/agentview_rgb"][()]
        np.testing.assert_array_equal(episode.actions, demo["actions"][()].astype(np.float32))
        np.testing.assert_array_equal(
            episode.state[:, 3:6], demo["obs/ee_ori"][()].astype(np.float32)
        )
    frames = episode.frames["agentview"]
    np.testing.assert_array_equal(frames[:, 0, 0], stored[:, -1, -1])
    np.testing.assert_array_equal(frames[:, 0, -1], stored[:, -1, 0])
    np.testing.assert_array_equal(libero.turn(frames), stored)


def test_the_convention_is_robosuites(source):
    action = libero.open_recordings(source).spec().action
    assert (action.mode, action.rotation, action.action_hz) == ("delta", "axis_angle", 20.0)
    assert action.scale == (0.05,) * 3 + (0.5,) * 3 + (1.0,)
    assert (action.gripper_open, action.gripper_closed) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ('{"language_instruction": "open the top drawer"}', "open the top drawer"),
        ('{"language_instruction": ["o", "p", "e", "n"]}', "open"),
        ("{}", "open the drawer"),
        (None, "open the drawer"),
    ],
)
def test_the_task_is_told_in_words(source, info, said):
    with h5py.File(source / DRAWER, "r+") as file:
        del file["data"].attrs["problem_info"]
        if info is not None:
            file["data"].attrs["problem_info"] = info
    assert libero.open_recordings(source).read(f"{DRAWER}/demo_0").task == said


def test_one_file_is_a_source_too(source):
    assert libero.open_recordings(source / DRAWER).keys() == [
        f"{DRAWER}/demo_0",
        f"{DRAWER}/demo_1",
    ]


def test_what_is_wrong_is_named(source):
    with h5py.File(source / DRAWER, "r+") as file:
        del file["data/demo_0/obs/ee_ori"]
        del file["data/demo_1/obs/eye_in_hand_rgb"]
        file["data/demo_1/obs/eye_in_hand_rgb"] = np.zeros((5, 32, 32, 3), np.uint8)
    reader = libero.open_recordings(source)
    with pytest.raises(
        ValueError, match=r"open_the_drawer_demo\.hdf5: expected the array 'ee_ori'"
    ):
        reader.read(f"{DRAWER}/demo_0")
    with pytest.raises(ValueError, match=r"eye_in_hand_rgb of shape 8, got \(5, 32, 32, 3\)"):
        reader.read(f"{DRAWER}/demo_1")
    reader.read(f"{DRAWER}/demo_1", cameras=("agentview",))


def test_robomimics_files_are_told_apart(source):
    for path in source.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            for demo in file["data"].values():
                for name in ("agentview_rgb", "eye_in_hand_rgb"):
                    del demo[f"obs/{name}"]
    with pytest.raises(ValueError, match="roboscape import robomimic"):
        libero.open_recordings(source).spec()
