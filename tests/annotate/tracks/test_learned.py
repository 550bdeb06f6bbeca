"""The adapters of trackers that cannot be installed here, against stand-ins with their signatures.

The stand-ins take and return what the published predictors do (shapes, order of coordinates, first
call of the online one), and move every point by a known step.
"""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from roboscape.annotate import pretrained
from roboscape.annotate.backends import TrackAnnotator
from roboscape.annotate.depth import protocol as depth
from roboscape.annotate.pretrained import HubWeights, check_hash
from roboscape.annotate.tracks.confidence import track_confidence
from roboscape.annotate.tracks.protocol import TRACK_ANNOTATORS, grid_points
from roboscape.dataset.records import Tracks

ROWS = 21
STEP_PX = torch.tensor([1.0, -0.5])


def moved(queries: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every point by the step a row, and hidden from row 10 on."""
    assert queries.shape[-1] == 3 and (queries[..., 0] == 0).all()
    time = torch.arange(rows)[None, :, None, None]
    visible = (torch.arange(rows) < 10)[None, :, None].expand(1, -1, queries.shape[1])
    return queries[:, None, :, 1:] + time * STEP_PX, visible


class Whole(torch.nn.Module):
    def __init__(self, checkpoint, offline, v2, window_len):
        super().__init__()
        assert checkpoint.endswith("scaled_offline.pth") and offline and not v2
        assert window_len == 60

    def forward(self, video, queries):
        assert video.shape[2:] == (3, 30, 40) and video.max() > 1
        return moved(queries, video.shape[1])


class Windows(torch.nn.Module):
    step = 8

    def __init__(self, checkpoint, offline, v2, window_len):
        super().__init__()
        assert not offline and window_len == 16
        self.seen = 0

    def forward(self, video_chunk, *, is_first_step=False, queries=None):
        assert video_chunk.shape[1] == 16
        if is_first_step:
            self.queries, self.seen = queries, 0
            return None, None
        self.seen = self.seen + 8 if self.seen else 16
        return moved(self.queries, self.seen)


class InSpace(torch.nn.Module):
    def __init__(self, checkpoint, interp_shape, seq_length):
        super().__init__()
        assert interp_shape == (384, 512) and seq_length == 12

    def forward(self, video, video_depth, queries, wind_length):
        assert video_depth.shape == (video.shape[1], 1, 30, 40) and wind_length == 12
        tracks, visible = moved(queries, video.shape[1])
        return torch.cat([tracks, torch.ones_like(tracks[..., :1])], dim=-1), visible, None


class Flat:
    name, version = "flat", "1"

    def __init__(self, near_m: float = 1.0) -> None:
        self.settings = {"near_m": near_m}

    def annotate(self, frames):
        return np.ones(frames.shape[:3], np.float32)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (ROWS, 30, 40, 3), dtype=np.uint8)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Stand-ins for the packages, and files for the weights."""
    for name, kinds in {
        "cotracker.predictor": {"CoTrackerPredictor": Whole, "CoTrackerOnlinePredictor": Windows},
        "models.spatracker.predictor": {"SpaTrackerPredictor": InSpace},
    }.items():
        module = ModuleType(name)
        for kind, value in kinds.items():
            setattr(module, kind, value)
        monkeypatch.setitem(sys.modules, name, module)
        parts = name.split(".")
        for count in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType("package"))
    for file in ("scaled_offline.pth", "scaled_online.pth", "spaT_final.pth"):
        (tmp_path / file).write_bytes(b"weights")
    monkeypatch.setitem(depth.DEPTH_ANNOTATORS, "flat", Flat)
    return tmp_path


def check(tracker, frames):
    assert isinstance(tracker, TrackAnnotator)
    points_px = np.array([[3.0, 4.0], [20.0, 25.0], [10.0, 10.0]], np.float32)
    tracks = tracker.follow(frames, points_px=points_px)
    wanted = points_px + np.arange(ROWS)[:, None, None] * STEP_PX.numpy()
    np.testing.assert_allclose(tracks.xy_px, wanted, atol=1e-4)
    np.testing.assert_array_equal(tracks.visible[:, 0], np.arange(ROWS) < 10)
    check_late_points(replace(tracker, points_per_side=2, sample_every=8, follow_rows=12), frames)


def check_late_points(tracker, frames):
    """Grids of rows 0, 8 and 16: each starts on its pixels there and is followed for 12 rows."""
    tracks = tracker.annotate(frames)
    grid = grid_points(30, 40, side=2)
    assert tracks.xy_px.shape == (ROWS, 3 * len(grid), 2)
    for number, first in enumerate((0, 8, 16)):
        mine = slice(number * len(grid), (number + 1) * len(grid))
        np.testing.assert_allclose(tracks.xy_px[first, mine], grid)
        seen = (np.arange(ROWS) >= first) & (np.arange(ROWS) < first + 10)
        np.testing.assert_array_equal(tracks.visible[:, mine].any(axis=1), seen)
        later = np.flatnonzero(seen)[-1]
        wanted = grid + (later - first) * STEP_PX.numpy()
        np.testing.assert_allclose(tracks.xy_px[later, mine], wanted, atol=1e-4)


@pytest.mark.parametrize("variant", ["offline", "online"])
def test_cotracker_is_asked_and_understood(variant, installed, frames):
    tracker = TRACK_ANNOTATORS["cotracker3"](folder=installed, variant=variant, device="cpu")
    assert "@82e02e8" in tracker.version and tracker.settings["variant"] == variant
    if variant == "online":
        points_px = np.ones((2, 2), np.float32)
        assert tracker.follow(frames[:5], points_px=points_px).xy_px.shape == (5, 2, 2)
    check(tracker, frames)


def test_spatial_tracker_is_given_depth(installed, frames):
    tracker = TRACK_ANNOTATORS["spatial_tracker"](
        checkpoint=installed / "spaT_final.pth",
        depth="flat",
        depth_settings={"near_m": 2.0},
        device="cpu",
    )
    check(tracker, frames)
    assert tracker.settings["depth_settings"] == {"version": "1", "near_m": 2.0}


def test_missing_code_names_the_command_that_installs_it():
    with pytest.raises(ValueError, match=r"pip install \"cotracker @ git\+https://.*@82e02e8"):
        TRACK_ANNOTATORS["cotracker3"]()
    with pytest.raises(ValueError, match=r"git clone https://github.com/henry123-boy/SpaTracker"):
        TRACK_ANNOTATORS["spatial_tracker"]()


def test_missing_weights_name_the_command_that_fetches_them(installed, tmp_path):
    empty = tmp_path / "empty"
    with pytest.raises(ValueError, match=r"hf download facebook/cotracker3 scaled_offline\.pth"):
        TRACK_ANNOTATORS["cotracker3"](folder=empty)
    with pytest.raises(ValueError, match=r"gdown --folder https://drive\.google\.com"):
        TRACK_ANNOTATORS["spatial_tracker"](checkpoint=empty / "spaT_final.pth")


def test_code_of_another_commit_is_refused(installed, monkeypatch):
    class Other:
        def read_text(self, name):
            assert name == "direct_url.json"
            return '{"vcs_info": {"commit_id": "0000"}}'

    monkeypatch.setattr(pretrained.importlib.metadata, "distribution", lambda name: Other())
    with pytest.raises(ValueError, match="cotracker is commit 0000, 82e02e8"):
        TRACK_ANNOTATORS["cotracker3"](folder=installed)


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"hello")
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    check_hash(tmp_path / "file", known)
    with pytest.raises(ValueError, match="is not the pinned file"):
        check_hash(tmp_path / "file", "0" * 64)


def test_weights_in_the_hubs_cache_are_found(tmp_path, monkeypatch):
    import huggingface_hub.constants
    import huggingface_hub.file_download

    weights = HubWeights(repository="a/b", revision="1" * 40, files=("c.json", "d"), licence="MIT")
    snapshot = tmp_path / "models--a--b" / "snapshots" / weights.revision
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    (snapshot / "d").write_text("x")
    with pytest.raises(ValueError, match=r"lacks c\.json; fetch them with `hf download a/b c.json"):
        weights.locate()
    (snapshot / "c.json").write_text("x")
    assert weights.locate() == snapshot


def test_confidence_is_lost_where_a_track_leaves_its_point(frames):
    still = np.repeat(frames[:1], ROWS, axis=0)
    xy_px = np.full((ROWS, 2, 2), 15.0, np.float32)
    xy_px[5:, 1] += 6
    visible = np.ones((ROWS, 2), bool)
    visible[12:, 0] = False
    confidence = track_confidence(still, Tracks(xy_px=xy_px, visible=visible))
    np.testing.assert_allclose(confidence[:12, 0], 1, atol=1e-5)
    assert (confidence[12:, 0] == 0).all() and confidence[5:, 1].max() < 0.6
