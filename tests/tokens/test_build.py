import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens import build
from roboscape.tokens.build import run
from roboscape.tokens.encode import farthest_travelled
from roboscape.tokens.store import TokenStore, shard_folder


def contents(root):
    """Hash of every file of a store."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_every_native_frame_is_encoded(config, files):
    store = run(config)
    tokenizer = Tokenizer.from_pretrained(files.tokenizer)
    dataset = LeRobotDataset(files.train)
    assert store.num_frames == 7 * 14
    with torch.inference_mode():
        rgb = tokenizer.encode_rgb(torch.from_numpy(dataset.frames(3, "front")))
        depth = tokenizer.encode_depth(torch.from_numpy(dataset.depth_m(3, "front")))
    shard = shard_folder(config.output, 1)
    np.testing.assert_array_equal(np.load(shard / "rgb.npy")[14:], rgb)
    np.testing.assert_array_equal(np.load(shard / "depth.npy")[14:], depth)
    np.testing.assert_array_equal(np.load(shard / "actions.npy")[14:], dataset.actions(3))
    np.testing.assert_array_equal(np.load(shard / "state.npy")[14:], dataset.state(3))


def test_a_run_killed_between_shards_goes_on_and_ends_the_same(config, monkeypatch):
    run(config)
    whole = contents(config.output)
    interrupted = replace(config, output=config.output.with_name("interrupted"))
    original, written = build.write_shard, []

    def die_at_the_third(folder, episodes, *, settings):
        if len(written) == 2:
            next(episodes)
            raise KeyboardInterrupt
        written.append(folder)
        original(folder, episodes, settings=settings)

    monkeypatch.setattr(build, "write_shard", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted)
    with pytest.raises(ValueError, match="no finished token store"):
        TokenStore(interrupted.output)
    monkeypatch.setattr(build, "write_shard", original)
    before = {path: path.stat().st_mtime_ns for path in interrupted.output.rglob("*.npy")}
    run(interrupted)
    assert len(before) == 2 * 6
    assert all(path.stat().st_mtime_ns == time for path, time in before.items()), "rewritten"
    assert contents(interrupted.output) == whole


def test_a_dataset_that_grew_costs_its_new_shards_only(config, files, tmp_path):
    few = replace(config, datasets=(files.validation,))
    run(few)
    first = shard_folder(few.output, 0) / "rgb.npy"
    before = first.stat().st_mtime_ns
    store = run(replace(few, datasets=(files.validation, files.train)))
    assert first.stat().st_mtime_ns == before
    assert len(store.episodes) == 7


def test_another_tokenizer_is_refused_in_the_middle_of_a_store(config, with_other_tokenizer):
    run(config)
    with pytest.raises(ValueError, match="tokenizer_sha256"):
        run(with_other_tokenizer)


def test_tracks_are_in_cells_of_the_token_grid(config):
    store = run(config)
    tracks = np.load(shard_folder(config.output, 0) / "tracks.npy")
    visible = np.load(shard_folder(config.output, 0) / "visible.npy")
    assert tracks.dtype == np.float16 and tracks.shape == (28, 6, 2)
    # Pixel 4 is cell 0, pixel 16 is the first of cell 1: it moves one pixel a row.
    np.testing.assert_allclose(tracks[:14, 0, 0], (4.5 + np.arange(14)) / 16, rtol=1e-3)
    assert np.floor(tracks[11, 0, 0]) == 0 and np.floor(tracks[12, 0, 0]) == 1
    assert visible[:, :4].all() and not visible[:, 4:].any(), "points that are not there"
    assert store.grid == (2, 2)


def test_of_too_many_points_the_most_active_stay():
    xy = np.zeros((5, 4, 2), np.float32)
    xy[:, 1, 0] = np.arange(5)
    xy[:, 3, 0] = 2 * np.arange(5)
    xy[:, 2, 0] = 9 * np.arange(5)
    visible = np.ones((5, 4), bool)
    visible[:, 2] = False
    assert sorted(farthest_travelled(Tracks(xy_px=xy, visible=visible), count=2)) == [1, 3]


def test_under_a_panning_camera_the_most_active_are_those_that_do_not_pan():
    start = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), -1).reshape(-1, 2) * 8
    xy = start + 3.0 * np.arange(5)[:, None, None] * np.array([1, 0])
    xy[:, 17] = start[17]
    tracks = Tracks(xy_px=xy.astype(np.float32), visible=np.ones(xy.shape[:2], bool))
    assert farthest_travelled(tracks, count=1).tolist() == [17]


def test_without_depth_or_tracks(config):
    store = run(replace(config, depth="none", tracks="none"))
    clip = store.batch(np.array([0]), split="train", length=3, stride=2)
    assert not store.config.has_depth
    assert clip.depth is None
    assert not clip.visible.any()


def test_what_does_not_fit_is_refused_before_any_work(config):
    with pytest.raises(ValueError, match="no camera `wrist`"):
        run(replace(config, cameras=("wrist",)))
    with pytest.raises(ValueError, match="depth"):
        run(replace(config, depth="imaginary"))
    with pytest.raises(ValueError, match="at least one dataset"):
        replace(config, datasets=())
