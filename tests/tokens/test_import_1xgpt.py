import numpy as np
import pytest

from roboscape.clips.split import split_of
from roboscape.core.files import read_json, write_json
from roboscape.tokens.folder_1xgpt import CODE_BITS, example
from roboscape.tokens.import_1xgpt import ImportTokens, run

SHAPE = {"length": 3, "stride": 5}


@pytest.fixture
def folder(tmp_path):
    return example(tmp_path)


def imported(tmp_path, *folders, **settings):
    return run(ImportTokens(folders=folders, output=tmp_path / "store", stride=5, **settings))


def stored_codes(folder):
    return np.fromfile(folder / "video.bin", np.uint32).reshape(40, 16)


def test_every_clip_holds_the_codes_and_actions_of_its_frames(folder, tmp_path):
    store = imported(tmp_path, folder)
    table = store.clips("train", **SHAPE)
    clips = store.batch(np.arange(len(table)), split="train", **SHAPE)
    codes = stored_codes(folder)
    joints = np.fromfile(folder / "actions/joint_pos.bin", np.float32).reshape(40, 21)
    episode, start = table.locate(np.arange(len(table)))
    first_frames = np.array([0, 24])[episode] + start
    for clip, first in enumerate(first_frames):
        rows = first + np.arange(3) * 5
        assert np.array_equal(clips.rgb[clip].numpy(), codes[rows])
        # The control that led into a frame is the action of the row before it.
        controls = (
            clips.controls[clip].numpy() * store.config.controls.std + store.config.controls.mean
        )
        np.testing.assert_allclose(controls[1:, :21], joints[rows[1:] - 1], atol=1e-5)
    assert not clips.visible.any()
    assert not store.config.has_depth


def test_no_clip_crosses_a_segment(folder, tmp_path):
    store = imported(tmp_path, folder)
    assert store.episodes.length.tolist() == [24, 16]
    table = store.clips("train", **SHAPE)
    assert len(table) == (24 - 10) + (16 - 10)
    ids = np.fromfile(folder / "segment_ids.bin", np.int32)
    episode, start = table.locate(np.arange(len(table)))
    first = np.array([0, 24])[episode] + start
    assert (ids[first] == ids[first + 10]).all()


def test_the_store_is_for_rgb_models_of_the_grid(folder, tmp_path):
    store = imported(tmp_path, folder)
    assert store.grid == (4, 4)
    assert store.code_bits == CODE_BITS
    assert store.control_size == 21 + 2 + 1 + 1 + 1
    assert store.controls.convention.known
    assert store.controls.convention.action_hz == 30


def test_a_folder_named_val_is_validation(folder, tmp_path):
    validation = example(tmp_path / "again")
    validation = validation.rename(validation.with_name("val_v1.1"))
    store = imported(tmp_path, folder, validation)
    splits = [split_of(int(seed)) for seed in store.episodes.seed]
    assert splits == ["train", "train", "validation", "validation"]
    assert len(set(store.episodes.seed)) == 4


def test_a_second_run_copies_nothing_again(folder, tmp_path):
    store = imported(tmp_path, folder, episodes_per_shard=1)
    shards = sorted(store.root.glob("shard_*/rgb.npy"))
    assert len(shards) == 2
    before = [path.stat().st_mtime_ns for path in shards]
    again = imported(tmp_path, folder, episodes_per_shard=1)
    assert [path.stat().st_mtime_ns for path in shards] == before
    assert again.num_frames == 40


def test_codes_of_other_widths_are_read(folder, tmp_path):
    codes = stored_codes(folder)
    (codes % 2**16).astype(np.uint16).tofile(folder / "video.bin")
    metadata = read_json(folder / "metadata.json")
    write_json(folder / "metadata.json", metadata | {"token_dtype": "uint16"})
    store = imported(tmp_path, folder)
    clip = store.batch(np.array([0]), split="train", **SHAPE)
    assert np.array_equal(clip.rgb[0, 0].numpy(), codes[0] % 2**16)


def test_a_folder_without_segments_is_one_episode(folder, tmp_path, caplog):
    (folder / "segment_ids.bin").unlink()
    assert imported(tmp_path, folder).episodes.length.tolist() == [40]
    assert "one uncut recording" in caplog.text


def test_a_folder_without_actions_has_no_controls(folder, tmp_path):
    for path in (folder / "actions").glob("*.bin"):
        path.unlink()
    store = imported(tmp_path, folder)
    clips = store.batch(np.array([0]), split="train", **SHAPE)
    assert clips.controls.shape == (1, 3, 0)


def test_an_unknown_array_of_actions_is_open_about_it(folder, tmp_path):
    np.zeros((40, 3), np.float32).tofile(folder / "actions/base_pose.bin")
    convention = imported(tmp_path, folder).controls.convention
    assert not convention.known
    assert convention.names[-1] == "base_pose_2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("video.bin", "promises 2560"),
        ("segment_ids.bin", "promises 160"),
        ("actions/joint_pos.bin", "expected float32 rows for 40 frames"),
    ],
)
def test_truncated_files_are_refused(folder, tmp_path, name, message):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=message):
        imported(tmp_path, folder)


def test_a_code_outside_the_vocabulary_names_its_frame(folder, tmp_path):
    codes = stored_codes(folder)
    codes[30, 3] = 2**CODE_BITS
    codes.tofile(folder / "video.bin")
    with pytest.raises(ValueError, match=r"video.bin, frame 30 holds the code 262144"):
        imported(tmp_path, folder)


def test_other_versions_are_refused(folder, tmp_path):
    metadata = read_json(folder / "metadata.json")
    write_json(folder / "metadata.json", metadata | {"vocab_size": 1000})
    with pytest.raises(ValueError, match="vocabulary of 1000"):
        imported(tmp_path, folder)
    (folder / "video_0.bin").touch()
    with pytest.raises(ValueError, match=r"version 2\.0"):
        imported(tmp_path, folder)
    with pytest.raises(ValueError, match="expected a JSON file at"):
        imported(tmp_path, tmp_path)
