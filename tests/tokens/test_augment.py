"""Augmented copies: the same motion at other places, beside recordings that stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.clips.reader import ClipReader
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.state_reading.train import StateReaderRun
from roboscape.state_reading.train import run as train_state_reader
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.augment import BRIGHTNESS, Augmentation
from roboscape.tokens.build import run
from roboscape.tokens.store import shard_folder
from tests.tokens.conftest import SIDE, SPEC

NOTHING = Augmentation(side=1.0, left=0.0, top=0.0, gain=(1.0, 1.0, 1.0), offset=0.0)
CROP = replace(NOTHING, side=0.75, left=0.6, top=0.2)


@pytest.fixture
def clip(files):
    dataset = LeRobotDataset(files.train)
    return ClipReader(dataset=dataset, length=None, stride=1, tracks="simulator").read(0)


def test_no_augmentation_changes_nothing(clip):
    found = NOTHING.apply(clip, "front")
    np.testing.assert_array_equal(found.frames["front"], clip.frames["front"])
    np.testing.assert_array_equal(found.depth_m["front"], clip.depth_m["front"])
    np.testing.assert_allclose(found.tracks["front"].xy_px, clip.tracks["front"].xy_px, atol=1e-4)
    np.testing.assert_array_equal(found.tracks["front"].visible, clip.tracks["front"].visible)


def test_a_track_stays_on_its_pixels():
    size, at = 64, np.array([[20, 33]])
    frames = np.zeros((1, size, size, 3), np.uint8)
    # A smooth spot, whose middle of mass is where the track is.
    y, x = np.mgrid[:size, :size]
    spot = np.exp(-((x - 20) ** 2 + (y - 33) ** 2) / 8)
    frames[0] = (255 * spot[..., None]).astype(np.uint8)
    depth_m = np.where(spot > 0.6, 1.0, 2.0).astype(np.float32)[None]
    tracks = CROP.tracks(
        Tracks(xy_px=at[None].astype(np.float32), visible=np.ones((1, 1), bool)), size=size
    )
    for seen in (CROP.frames(frames)[0, ..., 0].astype(float), 2 - CROP.depth(depth_m)[0]):
        middle = [(seen * axis).sum() / seen.sum() for axis in (x, y)]
        np.testing.assert_allclose(tracks.xy_px[0, 0], middle, atol=0.35)
    # By hand: the crop begins at .6 and .2 of the room of 16 px and is enlarged by 4 / 3.
    expected = [(20.5 - 9.6) / 0.75 - 0.5, (33.5 - 3.2) / 0.75 - 0.5]
    np.testing.assert_allclose(tracks.xy_px[0, 0], expected, atol=1e-4)


def test_what_leaves_the_image_is_not_seen():
    xy = np.array([[[0, 16], [31, 16], [16, 16]]], np.float32)
    tracks = Tracks(xy_px=xy, visible=np.ones((1, 3), bool))
    middle = replace(NOTHING, side=0.5, left=0.5, top=0.5)
    assert middle.tracks(tracks, size=SIDE).visible.tolist() == [[False, False, True]]


def test_depth_stays_the_scenes(clip):
    found = CROP.depth(clip.depth_m["front"])
    assert set(np.unique(found)) == set(np.unique(clip.depth_m["front"]))


def test_colours_change_alike_in_all_frames(clip):
    bright = replace(NOTHING, gain=(1.1, 1.0, 0.9), offset=5.0)
    found = bright.frames(clip.frames["front"])
    expected = clip.frames["front"] * np.float32((1.1, 1.0, 0.9)) + 5
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=1)
    white = np.full((1, SIDE, SIDE, 3), 250, np.uint8)
    assert bright.frames(white)[0, 0, 0].tolist() == [255, 255, 230], "levels wrapped around"


def test_draws_depend_on_the_place_alone():
    assert Augmentation.draw(0, 3, 1, 0) == Augmentation.draw(0, 3, 1, 0)
    drawn = [Augmentation.draw(0, e, c, v) for e in range(3) for c in (1, 2) for v in (0, 1)]
    assert len(set(drawn)) == len(drawn)
    assert all(0.75 <= one.side <= 1 and abs(one.offset) <= BRIGHTNESS for one in drawn)


def test_copies_stand_beside_recordings_that_stay_as_they_are(config, files):
    plain = run(config)
    before = {path: path.stat().st_mtime_ns for path in config.output.rglob("rgb.npy")}
    store = run(replace(config, augmented_copies=2))
    # Only the training episodes are copied; the shards that were there are not written again, but
    # the last one, which had room.
    assert len(plain.episodes) == 7 and len(store.episodes) == 7 + 2 * 5
    assert (store.episodes.split[7:] == 0).all()
    kept = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert len(before) == 4 and len(kept) == 3
    tokenizer, dataset = Tokenizer.from_pretrained(files.tokenizer), LeRobotDataset(files.train)
    first_copy = store.frames(np.full(14, 7), np.arange(14))
    altered = Augmentation.draw(0, 0, 1, 0)
    with torch.inference_mode():
        rgb = tokenizer.encode_rgb(torch.from_numpy(altered.frames(dataset.frames(0, "front"))))
        depth = tokenizer.encode_depth(torch.from_numpy(altered.depth(dataset.depth_m(0, "front"))))
    np.testing.assert_array_equal(first_copy.rgb, rgb)
    np.testing.assert_array_equal(first_copy.depth, depth)
    np.testing.assert_array_equal(first_copy.state, dataset.state(0))
    recorded = store.frames(np.zeros(14, int), np.arange(14))
    assert (recorded.rgb != first_copy.rgb).any()
    # Clips of copies are trained on, each of as many as its recording has.
    clips = store.clips("train", length=3, stride=2)
    of_episode = np.bincount(clips.episode, weights=clips.counts, minlength=17)
    np.testing.assert_array_equal(of_episode[7:12], of_episode[:5])
    actions = [np.load(shard_folder(config.output, n) / "actions.npy") for n in (0, 3)]
    np.testing.assert_array_equal(actions[0][:14], actions[1][14:])


def test_fewer_than_no_copies_are_refused(config):
    with pytest.raises(ValueError, match="--augmented-copies must be 0 or more, got -1"):
        replace(config, augmented_copies=-1)


def test_an_arm_model_that_takes_objects_is_refused_copies(config, tmp_path):
    model = Proprioception(
        ProprioceptionConfig(
            convention=SPEC.action, state_names=SPEC.state_names, object_names=("cube_x",), width=4
        )
    )
    model.save_pretrained(tmp_path / "arm")
    asked = replace(config, proprioception=str(tmp_path / "arm"), augmented_copies=1)
    with pytest.raises(ValueError, match="takes cube_x, which are read off frames"):
        run(asked)
    assert not config.output.exists()


def test_a_state_reader_is_not_taught_from_copies(config, tmp_path):
    run(replace(config, augmented_copies=1))
    asked = StateReaderRun(tokens=config.output, output=tmp_path / "reader", state_names=("x", "y"))
    with pytest.raises(ValueError, match="holds augmented copies"):
        train_state_reader(asked)
