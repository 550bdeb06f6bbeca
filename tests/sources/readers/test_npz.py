from pathlib import Path

import numpy as np
import pytest

from roboscape.sources.readers.npz import bair, ivideogpt, metaworld

DATA = Path(__file__).parents[4] / "shared/data"


def read_all(recordings, *, cameras=None):
    keys = recordings.keys()
    return [recordings.read(key, cameras=cameras) for key in keys]


def test_bair_has_two_cameras_stored_as_long_integers(tmp_path):
    source = bair.example(tmp_path)
    recordings = bair.open_recordings(source)
    assert [camera.name for camera in recordings.spec().cameras] == ["main", "aux1"]
    episode = recordings.read("00000")
    stored = np.load(source / "00000.npz")
    assert stored["aux1_image"].dtype == np.int64
    assert episode.frames["aux1"].dtype == np.uint8
    assert np.array_equal(episode.frames["aux1"], stored["aux1_image"])


def test_the_shifts_of_bair_count_once_though_they_stand_twice(tmp_path):
    recordings = bair.open_recordings(bair.example(tmp_path))
    actions = recordings.read("00000").actions
    scale = recordings.spec().action.scale
    assert np.allclose((actions * scale).sum(0), actions[::2].sum(0))


def test_a_file_in_a_folder_of_a_split_belongs_to_it(tmp_path):
    source = bair.example(tmp_path)
    (source / "test").mkdir()
    (source / "00001.npz").rename(source / "test/00001.npz")
    recordings = bair.open_recordings(source)
    assert recordings.keys() == ["00000", "test/00001"]
    splits = [episode.split for episode in read_all(recordings, cameras=())]
    assert splits == [None, "test"]


def test_a_single_file_is_a_source(tmp_path):
    recordings = bair.open_recordings(bair.example(tmp_path) / "00001.npz")
    assert recordings.keys() == ["00001"]


def test_ivideogpt_files_leave_their_actions_open(tmp_path):
    spec = ivideogpt.open_recordings(ivideogpt.example(tmp_path)).spec()
    assert not spec.action.known
    assert len(spec.action.names) == 4


def test_a_file_without_actions_says_what_to_do(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a.npz has no `action`.*import the recordings"):
        ivideogpt.open_recordings(tmp_path).spec()


def test_a_metaworld_action_moves_to_the_frame_before_it(tmp_path):
    source = metaworld.example(tmp_path)
    stored = np.load(source / "00000.npz")
    episode = metaworld.open_recordings(source).read("00000")
    assert len(episode) == len(stored["action"]) - 1
    assert np.array_equal(episode.actions, stored["action"][1:].clip(-1, 1))
    assert np.array_equal(episode.reward, stored["reward"][1:, 0])
    newest = stored["observation"][:-1, -3:].transpose(0, 2, 3, 1)
    assert np.array_equal(episode.frames["corner"], newest)
    assert episode.success


def test_the_folder_of_a_metaworld_file_names_its_task(tmp_path):
    source = metaworld.example(tmp_path)
    (source / "door-lock").mkdir()
    (source / "00000.npz").rename(source / "door-lock/00000.npz")
    recordings = metaworld.open_recordings(source)
    assert recordings.read("door-lock/00000").task == "lock the door by turning the lock"


@pytest.mark.parametrize("kind", [bair, ivideogpt, metaworld])
def test_a_truncated_file_costs_itself(kind, tmp_path):
    source = kind.example(tmp_path)
    path = source / "00001.npz"
    path.write_bytes(path.read_bytes()[:-60])
    recordings = kind.open_recordings(source)
    assert len(recordings.read("00000")) == 8
    with pytest.raises(ValueError, match=r"00001.npz is no .npz file that can be read"):
        recordings.read("00001")


def test_images_that_are_no_bytes_are_refused(tmp_path):
    source = bair.example(tmp_path)
    arrays = dict(np.load(source / "00000.npz"))
    np.savez(source / "00000.npz", **arrays | {"image": arrays["image"] + 200})
    with pytest.raises(ValueError, match="expected images of integers from 0 to 255"):
        bair.open_recordings(source).read("00000")


def test_files_of_another_format_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images of format bair"):
        bair.open_recordings(metaworld.example(tmp_path)).spec()
    with pytest.raises(ValueError, match=r"expected .npz files below"):
        bair.open_recordings(tmp_path / "nowhere")


@pytest.mark.skipif(not (DATA / "bair").exists(), reason="shared/data/bair is absent")
def test_real_bair_recording():
    episode = bair.open_recordings(DATA / "bair").read("bair_sample")
    assert episode.frames["main"].shape == episode.frames["aux1"].shape == (30, 64, 64, 3)
    assert np.array_equal(episode.actions[::2], episode.actions[1::2])
    # Closing and lifting are counted in whole actions.
    assert np.array_equal(episode.actions[:, 2:] % 1, np.zeros((30, 2)))


@pytest.mark.skipif(
    not (DATA / "metaworld_npz").exists(), reason="shared/data/metaworld_npz is absent"
)
def test_real_metaworld_demonstrations():
    recordings = metaworld.open_recordings(DATA / "metaworld_npz")
    episodes = read_all(recordings)
    assert [len(episode) for episode in episodes] == [100] * 4
    assert all(episode.success for episode in episodes)
    # The arm is still at first, and moves from the first action on: the shift by a row is right.
    for episode in episodes:
        frames = episode.frames["corner"].astype(float)
        moved = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
        assert np.abs(episode.actions[0]).max() == 1.0
        assert moved[0] > 0.5
