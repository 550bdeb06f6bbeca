import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from roboscape.core.video import write_video
from roboscape.sources.readers import droid

REAL = Path(__file__).parents[4] / "shared/data/droid"


def read_all(recordings, *, cameras=None):
    keys = recordings.keys()
    return [recordings.read(key, cameras=cameras) for key in keys]


def test_an_action_is_the_next_pose(tmp_path):
    recordings = droid.open_recordings(droid.example(tmp_path))
    episode = recordings.read("0001")
    assert np.array_equal(episode.actions[:-1], episode.state[1:])
    assert np.array_equal(episode.actions[-1], episode.state[-1])


def test_the_lag_one_form_gives_the_pose_of_the_row_itself(tmp_path):
    source = droid.example(tmp_path)
    assert droid.open_recordings(source).spec().commands == "next_state"
    lagging = droid.open_recordings(source, commands="current_state")
    episode = lagging.read("0001")
    assert lagging.spec().commands == "current_state"
    assert np.array_equal(episode.actions, episode.state)


def test_rotation_past_pi_does_not_jump(tmp_path):
    episode = droid.open_recordings(droid.example(tmp_path)).read("0001")
    assert np.abs(np.diff(episode.state[:, droid.ROTATION_X])).max() < 0.1


def test_success_and_split_are_what_the_recording_says(tmp_path):
    source = droid.example(tmp_path)
    recordings = droid.open_recordings(source)
    episodes = read_all(recordings)
    assert [episode.success for episode in episodes] == [True, False]
    assert [episode.split for episode in episodes] == [None] * 2
    (source / "annotation/val").mkdir()
    (source / "annotation/0002.json").rename(source / "annotation/val/0002.json")
    assert droid.open_recordings(source).read("val/0002").split == "validation"


@pytest.mark.parametrize(("frames", "good"), [(7, False), (8, True), (9, True), (10, False)])
def test_a_video_has_a_frame_for_every_state(tmp_path, frames, good):
    source = droid.example(tmp_path)
    images = np.full((frames, 32, 48, 3), 100, np.uint8)
    write_video(source / "videos/0001/2.mp4", images, fps=4.0)
    recordings = droid.open_recordings(source)
    if good:
        assert len(recordings.read("0001").frames["wrist"]) == 8
    else:
        with pytest.raises(ValueError, match=r"0001/2.mp4: expected a frame for each of the 8"):
            recordings.read("0001")
    assert len(recordings.read("0001", cameras=("exterior_1",))) == 8


def test_a_missing_video_is_named(tmp_path):
    source = droid.example(tmp_path)
    (source / "videos/0001/1.mp4").unlink()
    with pytest.raises(ValueError, match=r"0001.json lists the video videos/val/0001/1.mp4"):
        droid.open_recordings(source).read("0001")


def test_states_of_another_width_are_refused(tmp_path):
    source = droid.example(tmp_path)
    path = source / "annotation/0002.json"
    annotation = json.loads(path.read_text())
    path.write_text(json.dumps(annotation | {"states": [[0.0] * 6] * 8}))
    with pytest.raises(ValueError, match=r"expected `states` rows"):
        droid.open_recordings(source).read("0002")


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected annotations of episodes"):
        droid.open_recordings(tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="shared/data/droid is absent")
def test_real_droid_recordings():
    recordings = droid.open_recordings(REAL)
    spec = recordings.spec()
    assert spec.fps == 4.0
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [
        (name, 192, 320) for name in ("exterior_1", "exterior_2", "wrist")
    ]
    assert len(recordings.keys()) == 7
    lengths = [len(episode) for episode in read_all(recordings, cameras=())]
    assert lengths == [88, 93, 205, 146, 132, 41, 85]
    # One frame more than states, in the shortest of them: the extra one is left out.
    episode = recordings.read("0006", cameras=("wrist",))
    assert episode.frames["wrist"].shape == (41, 192, 320, 3)
    for episode in read_all(recordings, cameras=()):
        assert np.abs(np.diff(episode.state[:, 3:6], axis=0)).max() < 1.0


def write_published_episode(folder, *, rows, frames, success):
    (folder / "recordings/MP4").mkdir(parents=True)
    images = np.full((frames, 32, 48, 3), 100, np.uint8)
    for serial in (11, 22, 33):
        images += 20
        write_video(folder / f"recordings/MP4/{serial}.mp4", images, fps=60.0)
    poses = np.full((rows, 6), 0.25)
    poses[:, 3] = np.linspace(3.0, 3.3, rows)
    with h5py.File(folder / "trajectory.h5", "w") as file:
        file["action/cartesian_position"] = poses + 0.5
        file["action/gripper_position"] = np.ones(rows)
        file["observation/robot_state/cartesian_position"] = poses
        file["observation/robot_state/gripper_position"] = np.zeros(rows)
    metadata = {
        "current_task": "Move the cup",
        "success": success,
        "ext1_mp4_path": "success/day/time/recordings/MP4/11.mp4",
        "ext2_mp4_path": "success/day/time/recordings/MP4/22.mp4",
        "wrist_mp4_path": "success/day/time/recordings/MP4/33.mp4",
    }
    (folder / "metadata_LAB+1.json").write_text(json.dumps(metadata))


def test_droid_as_published(tmp_path):
    day = "2023-07-07/Fri_Jul__7_09:42:23_2023"
    write_published_episode(tmp_path / "LAB/success" / day, rows=5, frames=7, success=True)
    write_published_episode(tmp_path / "LAB/failure" / day, rows=4, frames=3, success=False)
    recordings = droid.open_recordings(tmp_path)
    assert recordings.keys() == [f"LAB/failure/{day}", f"LAB/success/{day}"]
    assert recordings.spec().fps == 15.0
    good = recordings.read(f"LAB/success/{day}")
    assert good.success
    assert good.task == "Move the cup"
    assert good.frames["wrist"].shape == (5, 32, 48, 3)
    assert good.frames["wrist"].mean() > good.frames["exterior_1"].mean() + 20
    assert np.allclose(good.actions[:, :3], 0.75)
    assert np.allclose(good.actions[:, 6], 1)
    assert np.allclose(good.state[:, 3], np.linspace(3.0, 3.3, 5))
    with pytest.raises(ValueError, match=r"11.mp4: expected a frame for each of the 4 states"):
        recordings.read(f"LAB/failure/{day}")


def test_a_published_episode_without_its_numbers_is_refused(tmp_path):
    folder = tmp_path / "LAB/success/day/time"
    write_published_episode(folder, rows=5, frames=5, success=True)
    (folder / "trajectory.h5").unlink()
    with pytest.raises(ValueError, match=r"trajectory.h5: expected observation/robot_state"):
        droid.open_recordings(tmp_path).read("LAB/success/day/time")
