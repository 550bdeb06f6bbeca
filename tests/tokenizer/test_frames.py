import numpy as np
import pytest

from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.tokenizer.frames import (
    SCENE_FRAMES,
    FrameCache,
    JoinedFrames,
    cache_dataset,
    cache_scenes,
    drawn_scenes,
    write_cache,
)


def test_frames_come_back_and_are_mapped(frames):
    assert len(frames) == 12
    assert isinstance(frames.rgb, np.memmap)
    assert frames.episode.tolist() == [0] * 6 + [1] * 6
    assert frames.rgb_at(np.array([7]))[0, 12, 12].tolist() == [180, 30, 30]
    depth = frames.depth_at(np.array([0, 7]))
    assert depth[1, 12, 12].item() == pytest.approx(0.5, rel=1e-3)


def test_an_interrupted_cache_is_no_cache(tmp_path):
    def broken():
        yield np.zeros((2, 8, 8, 3), np.uint8), None
        raise RuntimeError("decoder died")

    with pytest.raises(RuntimeError, match="decoder died"):
        write_cache(tmp_path / "cache", broken())
    assert not list(tmp_path.iterdir())


def test_frames_without_depth_say_so(tmp_path):
    cache = write_cache(tmp_path / "cache", [(np.zeros((2, 8, 8, 3), np.uint8), None)])
    assert FrameCache.open(tmp_path / "cache").depth_m is None
    with pytest.raises(ValueError, match="no depth"):
        cache.depth_at(np.array([0]))


def test_an_empty_dataset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no episodes"):
        write_cache(tmp_path / "cache", [])


@pytest.mark.parametrize("depth", [RECORDED, NONE])
def test_a_cache_of_other_settings_is_made_anew(lift_dataset, tmp_path, depth):
    settings = {"camera": "front", "depth": depth, "stride": 4}
    both = cache_dataset(lift_dataset, tmp_path / "cache", episodes=[0, 1], **settings)
    one = cache_dataset(lift_dataset, tmp_path / "cache", episodes=[1], **settings)
    assert len(one) < len(both)
    assert (one.depth_m is None) == (depth == NONE)


@pytest.mark.parametrize("depth", [True, False])
def test_procedural_scenes_are_cached_too(tmp_path, depth):
    cache = cache_scenes(tmp_path / "scenes", number=3, side=32, depth=depth)
    assert len(cache) == 3 * SCENE_FRAMES
    assert cache.size == (32, 32)
    assert cache.num_with_depth == (len(cache) if depth else 0)


def test_scenes_are_the_same_however_many_processes_draw_them(monkeypatch):
    alone = list(drawn_scenes(4, side=16))
    monkeypatch.setattr("roboscape.tokenizer.frames.SCENES_PER_PROCESS", 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for (rgb, depth_m), (other, other_m) in zip(alone, drawn_scenes(4, side=16), strict=True):
        assert np.array_equal(rgb, other)
        assert np.array_equal(depth_m, other_m)


@pytest.fixture
def plain(tmp_path) -> FrameCache:
    """One episode of five frames without depth, each of its own grey."""
    grey = np.arange(5, dtype=np.uint8)[:, None, None, None]
    return write_cache(tmp_path / "plain", [(np.broadcast_to(grey, (5, 32, 32, 3)), None)])


def test_joined_frames_are_those_of_their_parts_and_depth_comes_first(frames, plain):
    joined = JoinedFrames([plain, frames])
    assert (len(joined), joined.num_with_depth, joined.size) == (17, 12, (32, 32))
    indices = np.array([13, 7, 0])
    expected = [plain.rgb[1], frames.rgb[7], frames.rgb[0]]
    assert np.array_equal(joined.rgb_at(indices).numpy(), np.stack(expected))
    assert np.array_equal(joined.depth_at(np.array([7])), frames.depth_at(np.array([7])))
    assert joined.episode.tolist() == [0] * 6 + [1] * 6 + [2] * 5
    assert joined.first_of(np.arange(17)).tolist() == [0] * 6 + [6] * 6 + [12] * 5
    with pytest.raises(ValueError, match="no depth"):
        joined.depth_at(np.array([12]))


def test_depth_is_drawn_where_there_is_depth_and_small_parts_are_not_drowned(frames, plain):
    def share_of_plain(balance):
        joined = JoinedFrames([frames, plain], balance=balance)
        rgb, depth = joined.draw(np.random.default_rng(0), half=2000)
        assert depth.max() < joined.num_with_depth == 12
        assert set(rgb) == set(range(17)) and set(depth) == set(range(12))
        return (rgb >= 12).mean()

    assert share_of_plain(1.0) == pytest.approx(5 / 17, abs=0.04)
    assert share_of_plain(0.0) == pytest.approx(1 / 2, abs=0.04)


def test_frames_of_two_sizes_do_not_join(frames, tmp_path):
    other = write_cache(tmp_path / "other", [(np.zeros((2, 8, 8, 3), np.uint8), None)])
    with pytest.raises(ValueError, match="share their size"):
        JoinedFrames([frames, other])
