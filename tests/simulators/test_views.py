"""Several cameras a frame: from a dataset to tokens, and through the learned simulator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec, Tracks
from roboscape.dataset.writer import DatasetWriter
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.videos import Videos, cameras_of, decode_videos, encode_videos
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart, FrameStart
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.build import Tokenize, run
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import WorldModelRun, make_model
from tests.conftest import SPEC, make_episode

VIEWS = ("front", "wrist")


def write_views(root, *, wrist_depth):
    """Three episodes that two cameras saw; points were followed in the first."""
    wrist = CameraSpec(name="wrist", height=64, width=64, has_depth=wrist_depth)
    with DatasetWriter(root, replace(SPEC, cameras=(*SPEC.cameras, wrist))) as writer:
        for seed in range(3):
            episode = make_episode(seed, rises=seed == 1)
            rgb, depth_m = episode.frames["front"], episode.depth_m["front"]
            steps = np.arange(len(rgb)).reshape(-1, 1, 1)
            tracks = Tracks(
                xy_px=np.array([[3.0, 30.0], [40.0, 50.0]], np.float32) + steps.astype(np.float32),
                visible=np.ones((len(rgb), 2), bool),
                on_moving_body=np.ones(2, bool),
            )
            episode = replace(
                episode,
                frames={"front": rgb, "wrist": 255 - rgb[:, ::-1]},
                depth_m={"front": depth_m} | ({"wrist": depth_m + 0.5} if wrist_depth else {}),
                tracks={"front": tracks},
            )
            writer.add(episode)
    return LeRobotDataset(root)


@pytest.fixture
def both(tmp_path) -> LeRobotDataset:
    """Recordings of two cameras with depth."""
    return write_views(tmp_path / "both", wrist_depth=True)


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Recordings of two cameras, the second without depth."""
    return write_views(tmp_path / "one_depth", wrist_depth=False).root


@pytest.fixture
def bundle(tiny_bundle, randomised) -> Bundle:
    """A model of two views, every weight of which matters."""
    config = replace(tiny_bundle.world_model.config, views=VIEWS)
    return replace(tiny_bundle, world_model=randomised(WorldModel(config)))


@pytest.fixture
def actions():
    return np.random.default_rng(0).uniform(-1, 1, (4, 1, 2, 3)).astype(np.float32)


def frame(dataset, *, without=()):
    """The first frame of an episode, as somebody who has no dataset gives it."""
    chosen = [name for name in VIEWS if name not in without]
    return FrameStart(
        rgb={name: dataset.frames(0, name)[0] for name in chosen},
        depth_m={name: dataset.depth_m(0, name)[0] for name in chosen},
        state=dataset.state(0)[0],
    )


def test_views_are_coded_and_decoded_as_each_would_be_alone(bundle, both):
    tokenizer = bundle.tokenizer
    views = [both.frames(0, name)[None] for name in VIEWS]
    tall = Videos(rgb=np.concatenate(views, axis=2), depth_m=None)
    codes = encode_videos(tokenizer, tall)
    alone = [encode_videos(tokenizer, Videos(rgb=view, depth_m=None)) for view in views]
    assert torch.equal(codes.rgb, torch.cat([one.rgb for one in alone], dim=2))
    assert not torch.equal(alone[0].rgb, alone[1].rgb)
    shown = decode_videos(tokenizer, codes, tall).rgb
    apart = [
        decode_videos(tokenizer, one, Videos(rgb=view, depth_m=None)).rgb
        for one, view in zip(alone, views, strict=True)
    ]
    np.testing.assert_array_equal(shown, np.concatenate(apart, axis=2))


def test_a_store_holds_the_views_one_after_the_other(bundle, dataset, tmp_path):
    bundle.tokenizer.save_pretrained(tmp_path / "tokenizer")
    settings = {"datasets": (dataset,), "tokenizer": str(tmp_path / "tokenizer"), "points": 2}
    stores = {
        cameras: run(
            Tokenize(
                **settings, cameras=cameras, depth=depth, stride=2, output=tmp_path / cameras[0]
            )
        )
        for cameras, depth in ((VIEWS, "recorded"), (("wrist", "front"), "recorded"))
    }
    there, reversed_order = (
        store.batch(np.array([0]), split="train", length=3, stride=2) for store in stores.values()
    )
    tokens = bundle.world_model.config.tokens_per_view
    assert there.rgb.shape[2] == 2 * tokens
    assert torch.equal(there.rgb, reversed_order.rgb.roll(tokens, dims=2))
    # The hand's camera has recorded no depth, and nobody has followed points in it.
    assert (there.depth[..., tokens:] == MISSING).all()
    assert (there.depth[..., :tokens] != MISSING).all()
    assert torch.equal(
        there.tracks[:, :, :2], reversed_order.tracks[:, :, 2:] - torch.tensor([0, 4])
    )
    assert there.visible[:, :, :2].any() and not there.visible[:, :, 2:].any()
    store = stores[VIEWS]
    model = make_model(WorldModelRun(tokens=store.root, output=tmp_path / "run"), store=store)
    assert model.config.views == VIEWS and model.config.grid == store.grid


def test_a_store_of_one_camera_from_before_is_still_read(bundle, dataset, tmp_path):
    bundle.tokenizer.save_pretrained(tmp_path / "tokenizer")
    config = Tokenize(
        datasets=(dataset,), tokenizer=str(tmp_path / "tokenizer"), stride=2, output=tmp_path / "s"
    )
    run(config)
    for name in ("store.json", "shard_00000/shard.json"):
        path = config.output / name
        text = path.read_text().replace("cameras", "camera")
        path.write_text(text.replace('[\n    "front"\n  ]', '"front"'))
        assert '"camera": "front"' in path.read_text()
    before = (config.output / "shard_00000/rgb.npy").stat().st_mtime_ns
    assert run(config).config.cameras == ("front",)
    assert (config.output / "shard_00000/rgb.npy").stat().st_mtime_ns == before


def test_the_simulator_shows_every_camera(bundle, both, actions):
    simulator = LearnedSimulator(bundle)
    assert [camera.name for camera in simulator.spec.cameras] == list(VIEWS)
    seen = simulator.reset([EpisodeStart(dataset=both, episode=0)])
    for name in VIEWS:
        np.testing.assert_array_equal(seen.rgb[name][0], both.frames(0, name)[0])
    given = simulator.tokens.clone()
    seen = simulator.step(actions[0])
    assert seen.rgb["front"].shape == seen.rgb["wrist"].shape == (1, 64, 64, 3)
    assert seen.confidence["wrist"].shape == (1, 4, 4)
    assert not np.array_equal(seen.rgb["front"], seen.rgb["wrist"])
    swapped = LearnedSimulator(bundle, cameras=("wrist", "front"))
    swapped.reset([EpisodeStart(dataset=both, episode=0)])
    tokens = bundle.world_model.config.tokens_per_view
    assert torch.equal(swapped.tokens, given.roll(tokens, dims=2))


def test_one_view_changes_what_is_imagined_of_the_other(bundle, both, actions):
    tokens = bundle.world_model.config.tokens_per_view
    found = []
    for row in (0, -1):
        start, wrist = frame(both), both.frames(1, "wrist")[row]
        simulator = LearnedSimulator(bundle)
        simulator.reset([replace(start, rgb=start.rgb | {"wrist": wrist})])
        simulator.step(actions[0])
        found.append(simulator.tokens[0, 0, :tokens].clone())
    assert not torch.equal(*found)


def test_a_start_may_lack_a_view(bundle, both, actions):
    tokens = bundle.world_model.config.tokens_per_view
    simulator = LearnedSimulator(bundle, batch=2)
    seen = simulator.reset([frame(both), frame(both, without=("wrist",))])
    assert not seen.rgb["wrist"][1].any() and seen.rgb["wrist"][0].any()
    assert (simulator.tokens[:, 1, tokens:] == MISSING).all()
    pair = np.repeat(actions, 2, axis=1)
    together = [simulator.step(action) for action in pair]
    assert (simulator.tokens != MISSING).all(), "it is imagined from then on"
    alone = LearnedSimulator(bundle)
    alone.reset([frame(both, without=("wrist",))])
    for action, seen in zip(actions, together, strict=True):
        np.testing.assert_array_equal(alone.step(action).rgb["wrist"][0], seen.rgb["wrist"][1])
    with pytest.raises(ValueError, match="expected images of the cameras front, wrist"):
        alone.reset([frame(both, without=VIEWS)])


def test_cameras_are_found_by_the_names_of_the_training(bundle, tiny_bundle, both):
    assert cameras_of(bundle, both) == VIEWS
    assert cameras_of(bundle, both, asked=("wrist", "front")) == ("wrist", "front")
    assert cameras_of(tiny_bundle, both) == ("front",), "one camera of any name"
    other = replace(bundle.world_model.config, views=("left", "right"))
    with pytest.raises(ValueError, match=r"sees 2 views .left, right., and .* front, wrist"):
        cameras_of(replace(bundle, world_model=WorldModel(other)), both)
    with pytest.raises(ValueError, match="asked for front"):
        cameras_of(bundle, both, asked=("front",))
    with pytest.raises(ValueError, match="names of 2 cameras"):
        LearnedSimulator(bundle, cameras=("front",))
