from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.annotate.backends import DepthAnnotator
from roboscape.annotate.depth.anything import metres_from_disparity, prepare
from roboscape.annotate.depth.protocol import DEPTH_ANNOTATORS

transformers = pytest.importorskip("transformers")


def save_tiny(folder: Path, *, metric: bool) -> Path:
    """A random Depth Anything of the published classes, too small to be good for anything."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        image_size=28,
        patch_size=14,
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=4,
        mlp_ratio=2,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else 1,
    )
    model = transformers.DepthAnythingForDepthEstimation(config)
    # An untrained head would end in zeros (ReLU); these biases keep it alive.
    torch.nn.init.constant_(model.head.conv3.bias, 0.5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("relative"), metric=False)


@pytest.fixture(scope="module")
def metric(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("metric"), metric=True)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 30, 40, 3), dtype=np.uint8)


def make(name: str, folder: Path, **settings):
    return DEPTH_ANNOTATORS[name](folder=folder, side_px=28, device="cpu", **settings)


def test_relative_depth_becomes_metres_by_two_known_distances(relative, frames):
    annotator = make("depth_anything_v2", relative, range_m=(0.4, 2.5))
    assert isinstance(annotator, DepthAnnotator)
    depth_m = annotator.annotate(frames)
    assert depth_m.shape == (5, 30, 40) and depth_m.dtype == np.float32
    near, far = np.percentile(depth_m[0], (2, 98))
    assert near == pytest.approx(0.4, rel=0.02) and far == pytest.approx(2.5, rel=0.1)
    assert annotator.settings["metres"] == "range_m of the first frame"


def test_metric_depth_is_in_metres_already(metric, frames):
    annotator = make("depth_anything_v2_metric", metric)
    depth_m = annotator.annotate(frames)
    assert depth_m.shape == (5, 30, 40) and (depth_m > 0).all() and (depth_m <= 21).all()
    assert annotator.name == "depth_anything_v2_metric"
    assert annotator.settings["metres"] == "metric checkpoint"


def test_batches_do_not_change_the_result(relative, frames):
    one = make("depth_anything_v2", relative, range_m=(0.4, 2.5), batch_size=1)
    all_at_once = make("depth_anything_v2", relative, range_m=(0.4, 2.5), batch_size=5)
    np.testing.assert_allclose(one.annotate(frames), all_at_once.annotate(frames), rtol=1e-3)
    # So an interrupted annotation may go on with other batches, on another device.
    assert one.settings == all_at_once.settings


def test_pixels_are_prepared_as_transformers_does():
    kind = getattr(transformers, "DPTImageProcessorPil", None)
    if kind is None:
        pytest.skip("this transformers has no image processor without torchvision")
    # The published preprocessor_config.json of Depth Anything V2.
    processor = kind(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    y, x = np.mgrid[:96, :128]
    frame = np.stack([x * 2, y * 2, (x + y)], axis=-1).astype(np.uint8)
    wanted = processor(images=frame, return_tensors="pt")["pixel_values"]
    found = prepare(torch.from_numpy(frame)[None], side_px=518)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().mean() < 0.01


def test_missing_weights_name_the_command_that_fetches_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"`hf download depth-anything/.*--revision [0-9a-f]{40}`"):
        DEPTH_ANNOTATORS["depth_anything_v2"](range_m=(0.4, 2.5), folder=tmp_path)


def test_metres_must_come_from_somewhere(relative, metric):
    with pytest.raises(ValueError, match="without a scale: give range_m"):
        make("depth_anything_v2", relative)
    with pytest.raises(ValueError, match="in metres already"):
        make("depth_anything_v2_metric", metric, range_m=(1.0, 2.0))
    with pytest.raises(ValueError, match="0 < nearest < farthest"):
        make("depth_anything_v2", relative, range_m=(2.0, 1.0))


def test_weights_of_the_other_kind_are_refused(relative, frames):
    with pytest.raises(ValueError, match="holds a relative model"):
        make("depth_anything_v2_metric", relative).annotate(frames)


def test_an_unknown_setting_is_refused_with_the_known_ones(relative):
    with pytest.raises(ValueError, match="no setting colour; it has checkpoint"):
        make("depth_anything_v2", relative, colour="red")


def test_settings_may_come_from_json(relative, frames):
    annotator = make("depth_anything_v2", str(relative), range_m=[0.4, 2.5])
    assert annotator.range_m == (0.4, 2.5) and annotator.folder == relative
    with pytest.raises(ValueError, match="the settings given is not a valid DepthAnything"):
        make("depth_anything_v2", relative, range_m="near")


def test_disparity_and_metres_agree_where_distances_are_known():
    depth_m = np.random.default_rng(0).uniform(0.5, 2, (2, 40, 40))
    near, far = 1 / np.percentile(1 / depth_m[0], (98, 2))
    found = metres_from_disparity(3 / depth_m + 7, range_m=(near, far))
    np.testing.assert_allclose(found, depth_m, rtol=1e-4)


def test_video_depth_anything_names_what_must_be_installed():
    with pytest.raises(ValueError, match=r"git clone https://github.com/DepthAnything/Video-Depth"):
        DEPTH_ANNOTATORS["video_depth_anything"]()
