import h5py
import numpy as np
import pytest

from roboscape.sources.readers import agibot

EMPTY, PARTLY = "327/648642", "352/648544"


@pytest.fixture
def source(tmp_path):
    return agibot.example(tmp_path)


def numbers(source, key):
    return source / "proprio_stats" / key / "proprio_stats.h5"


def test_empty_actions_say_the_next_state(source):
    episode = agibot.open_recordings(source).read(EMPTY)
    with h5py.File(numbers(source, EMPTY)) as file:
        positions = file["state/end/position"][()].reshape(8, 6)
        quaternions = file["state/end/orientation"][()].reshape(8, 8)
        grippers = file["state/effector/position"][()]
    poses = np.concatenate([positions, quaternions], 1).astype(np.float32)
    np.testing.assert_array_equal(episode.actions[:-1, :14], poses[1:])
    np.testing.assert_array_equal(episode.actions[-1, :14], poses[-1])
    np.testing.assert_allclose(episode.actions[:-1, 14:], (grippers[1:] - 35) / 85, rtol=1e-5)
    np.testing.assert_array_equal(episode.state[:, :14], poses)
    np.testing.assert_allclose(episode.state[:, 14:16], grippers, rtol=1e-6)


def test_recorded_commands_stand_in_the_rows_of_their_index(source):
    episode = agibot.open_recordings(source).read(PARTLY)
    with h5py.File(numbers(source, PARTLY)) as file:
        commands = file["action/effector/position"][()]
        states = file["state/effector/position"][()]
    np.testing.assert_allclose(episode.actions[2:6, 14:], commands, rtol=1e-6)
    np.testing.assert_allclose(episode.actions[0, 14:], (states[1] - 35) / 85, rtol=1e-5)


def test_the_gripper_closes_as_its_measure_grows():
    assert list(agibot.gripper_command(np.array([20.0, 35.0, 120.0, 130.0]))) == [0, 0, 1, 1]


def test_names_and_convention_are_the_papers(source):
    spec = agibot.open_recordings(source).spec()
    assert len(spec.action.names) == 16
    assert spec.action.names[:7] == (
        *(f"left_{a}" for a in "xyz"),
        *(f"right_{a}" for a in "xyz"),
        "left_quaternion_x",
    )
    assert spec.action.names[-2:] == ("left_gripper", "right_gripper")
    assert (spec.action.mode, spec.action.rotation, spec.fps) == (
        "absolute",
        "quaternion_xyzw",
        30.0,
    )
    assert [(camera.name, camera.has_depth) for camera in spec.cameras] == [
        ("hand_left", False),
        ("head", True),
    ]


def test_depth_is_in_metres_and_the_task_in_words(source):
    episode = agibot.open_recordings(source).read(EMPTY)
    assert episode.depth_m["head"][0, 0, 0] == pytest.approx(0.7)
    assert episode.depth_m["head"][2, 1, 1] == pytest.approx(0.755)
    assert episode.task == "task 327 of the shop"
    (source / "task_info/task_327.json").unlink()
    assert agibot.open_recordings(source).read(EMPTY).task == ""


def test_what_is_wrong_is_named(source):
    reader = agibot.open_recordings(source)
    video = source / f"observations/{EMPTY}/videos/head_color.mp4"
    video.write_bytes(video.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"head_color\.mp4"):
        reader.read(EMPTY)
    (source / f"observations/{PARTLY}/depth/head_depth_000003.png").unlink()
    with pytest.raises(ValueError, match=r"expected 8 depth images of head, found 7"):
        reader.read(PARTLY)
    with h5py.File(numbers(source, PARTLY), "r+") as file:
        del file["state/effector/position"]
        file["state/effector/position"] = np.zeros((8, 12))
    with pytest.raises(ValueError, match=r"proprio_stats\.h5: .*12; .*dexterous hands"):
        reader.read(PARTLY)


def test_commands_that_fit_no_rows_are_refused(source):
    with h5py.File(numbers(source, PARTLY), "r+") as file:
        del file["action/effector/index"]
    with pytest.raises(ValueError, match=r"expected action/effector/position of 8 rows"):
        agibot.open_recordings(source).read(PARTLY)


def test_a_broken_first_episode_does_not_hide_the_others(source):
    for video in (source / f"observations/{EMPTY}/videos").glob("*.mp4"):
        video.write_bytes(b"not a video")
    reader = agibot.open_recordings(source)
    assert len(reader.spec().cameras) == 2
    assert len(reader.read(PARTLY)) == 8


def test_rows_without_a_command_can_say_the_state_reached_there(source):
    reader = agibot.open_recordings(source, commands="current_state")
    assert agibot.open_recordings(source).spec().commands == "next_state"
    assert reader.spec().commands == "current_state"
    empty = reader.read(EMPTY)
    np.testing.assert_array_equal(empty.actions[:, :14], empty.state[:, :14])
    filled = agibot.open_recordings(source).read(PARTLY).actions
    # Rows 2 to 5 of the grippers were recorded, and stay; the others say their own row.
    np.testing.assert_array_equal(reader.read(PARTLY).actions[2:6, 14:], filled[2:6, 14:])
    assert not np.array_equal(reader.read(PARTLY).actions[:2, 14:], filled[:2, 14:])


def test_a_dataset_whose_commands_were_all_recorded_says_so(source):
    reader = agibot.open_recordings(source)
    keys = reader.keys()
    for key in keys:
        with h5py.File(numbers(source, key), "r+") as file:
            for part, width in (
                ("end/position", 3),
                ("end/orientation", 4),
                ("effector/position", 0),
            ):
                del file[f"action/{part}"]
                shape = (8, 2, width) if width else (8, 2)
                file[f"action/{part}"] = np.zeros(shape)
    assert agibot.open_recordings(source).spec().commands == "recorded"
