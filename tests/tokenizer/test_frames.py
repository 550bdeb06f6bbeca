import numpy as np
import pytest

from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.tokenizer.frames import SCENE_FRAMES, FrameCache, cache_dataset, write_cache


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
def test_procedural_scenes_follow_the_episodes(lift_dataset, tmp_path, depth):
    settings = {"episodes": [0, 1], "camera": "front", "depth": depth, "stride": 4}
    alone = cache_dataset(lift_dataset, tmp_path / "alone", **settings)
    both = cache_dataset(lift_dataset, tmp_path / "both", procedural_scenes=3, **settings)
    assert len(both) == len(alone) + 3 * SCENE_FRAMES
    assert np.array_equal(both.rgb[: len(alone)], alone.rgb)
    assert both.episode[-1] == both.episode[len(alone) - 1] + 3
    assert (both.depth_m is None) == (depth == NONE)
    assert len(cache_dataset(lift_dataset, tmp_path / "both", **settings)) == len(alone), (
        "made anew"
    )
