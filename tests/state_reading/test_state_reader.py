"""The state reader: what it learns from, what it reads, and the goals that it is for."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.writer import DatasetWriter
from roboscape.planning.costs import Goal, read_goals
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.state_reading.train import ObjectPlaces, StateReaderRun, draw, run
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.tokens.state_reader import OBJECT_READER, StateReader, StateReaderConfig
from roboscape.tokens.weights import encoder_sha256
from roboscape.training.learner import FitConfig
from tests.tokens.conftest import SPEC, make_episode, make_tokenizer

NAMES = ("eef_x", "eef_y", "eef_z")


def episode_of(seed):
    """The squares of the token stores' tests; the hand is where the square is."""
    one = make_episode(seed)
    across = np.arange(len(one.state), dtype=np.float32)
    scale = 1 if seed < 800_000 else 10
    state = np.stack([across, np.full_like(across, 7), -across], axis=1) * scale
    return replace(one, state=state)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    spec = replace(SPEC, state_names=NAMES)
    with DatasetWriter(root / "data", spec) as writer:
        for seed in (0, 1, 2, 3, 800_000, 800_001):
            writer.add(episode_of(seed))
    return tokenize(
        Tokenize(
            datasets=(root / "data",),
            tokenizer=str(make_tokenizer(root / "tokenizer", seed=0)),
            output=root / "store",
            stride=2,
            points=6,
            episodes_per_shard=2,
        )
    )


def training(store, output, *, steps=250):
    return StateReaderRun(
        tokens=store.root,
        state_names=NAMES,
        output=output,
        width=16,
        validation_frames=32,
        fit=FitConfig(steps=steps, evaluate_every=steps, checkpoint_every=20, average_decay=0.0),
    )


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    return run(training(store, tmp_path_factory.mktemp("training")))


def test_stored_frames_are_those_of_the_clips_and_their_states_the_recorded_ones(store):
    chosen = np.array([3])
    clip = store.batch(chosen, split="train", length=2, stride=2)
    located = store.clips("train", length=2, stride=2).locate(chosen)
    episode, start = (int(value[0]) for value in located)
    frames = store.frames(np.array([episode, episode]), np.array([start, start + 2]))
    np.testing.assert_array_equal(frames.rgb, clip.rgb[0])
    np.testing.assert_array_equal(frames.depth, clip.depth[0])
    np.testing.assert_array_equal(frames.state[:, 0], [start, start + 2])


def test_every_frame_is_as_likely_as_every_other(store, monkeypatch):
    lengths = store.episodes.length.copy()
    training = np.flatnonzero(store.episodes.split == 0)
    lengths[training] = [1, 1, 1, 5]
    monkeypatch.setattr(store, "episodes", replace(store.episodes, length=lengths))
    read, asked = store.frames, []
    monkeypatch.setattr(store, "frames", lambda *which: asked.append(which) or read(*which))
    draw(store, "train", np.random.default_rng(0), size=800)
    ((episodes, rows),) = asked
    assert 430 < (episodes == training[-1]).sum() < 570  # 5 of 8 frames
    assert np.bincount(rows[episodes == training[-1]]).min() > 60


def test_it_reads_where_the_square_is_and_learns_from_training_episodes_alone(store, trained):
    frames = draw(store, "train", np.random.default_rng(5), size=64)
    found = trained.read(torch.from_numpy(frames.rgb))
    # A guess of the mean is 3.5 columns off.
    assert np.abs(found[:, 0] - frames.state[:, 0]).mean() < 1
    np.testing.assert_allclose(found[:, 1], 7, atol=0.5)
    # Validation episodes say that the square is ten times as far away.
    held_out = draw(store, "validation", np.random.default_rng(5), size=64)
    found = trained.read(torch.from_numpy(held_out.rgb))
    assert np.abs(found[:, 0] - held_out.state[:, 0] / 10).mean() < 2.5


def test_it_reads_where_objects_are_from_recordings_that_say(store, tmp_path):
    spec = replace(SPEC, state_names=NAMES, object_names=("square_x", "square_y", "square_z"))
    with DatasetWriter(tmp_path / "data", spec) as writer:
        for seed in (0, 1, 2, 3, 800_000, 800_001):
            one = episode_of(seed)
            # The robot's state says nothing here.
            writer.add(replace(one, state=np.zeros_like(one.state), objects=one.state))
    tokens = tokenize(
        Tokenize(
            datasets=(tmp_path / "data",),
            tokenizer=str(store.root.with_name("tokenizer")),
            output=tmp_path / "store",
            stride=2,
            points=6,
        )
    )
    config = replace(training(tokens, tmp_path / "run"), state_names=(), objects=True)
    reader = run(config)
    assert reader.config.state_names == ("square_x", "square_y", "square_z")
    places = ObjectPlaces.of(tokens)
    frames = draw(tokens, "train", np.random.default_rng(5), size=64, places=places)
    found = reader.read(torch.from_numpy(frames.rgb))
    assert np.abs(found[:, 0] - frames.state[:, 0]).mean() < 1
    saved = StateReader.from_pretrained(tmp_path / "run" / OBJECT_READER)
    np.testing.assert_array_equal(saved.read(torch.from_numpy(frames.rgb)), found)
    accuracy = read_json(tmp_path / "run" / OBJECT_READER / "accuracy.json")
    assert {"square_m_rgb", "square_m_90_rgb_depth"} <= accuracy.keys()
    with pytest.raises(UserError, match="do not all say where the same objects are"):
        run(replace(config, tokens=store.root, output=tmp_path / "none"))


def test_a_frame_reads_the_same_alone_and_depth_that_is_missing_as_none(store, trained):
    frames = draw(store, "validation", np.random.default_rng(0), size=6)
    rgb, depth = torch.from_numpy(frames.rgb), torch.from_numpy(frames.depth)
    together = trained.read(rgb, depth)
    alone = np.concatenate([trained.read(rgb[[n]], depth[[n]]) for n in range(6)])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    absent = trained.read(rgb, torch.full_like(rgb, MISSING))
    np.testing.assert_allclose(trained.read(rgb), absent, atol=1e-5)
    assert np.abs(together - absent).max() > 1e-3


def test_an_interrupted_training_ends_as_one_that_was_not(store, tmp_path, monkeypatch):
    whole = run(training(store, tmp_path / "whole", steps=40))
    steps = []

    def drawn(store, split, generator, *, size, places=None):
        steps.append(split)
        if steps.count("train") == 31:
            raise KeyboardInterrupt
        return draw(store, split, generator, size=size, places=places)

    monkeypatch.setattr("roboscape.state_reading.train.draw", drawn)
    with pytest.raises(KeyboardInterrupt):
        run(training(store, tmp_path / "cut", steps=40))
    resumed = run(training(store, tmp_path / "cut", steps=40))
    assert 41 < steps.count("train") < 31 + 41
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_states_without_names_are_asked_for(store, tmp_path):
    with pytest.raises(UserError, match="--state-names"):
        run(replace(training(store, tmp_path), state_names=()))
    with pytest.raises(UserError, match="3 dimensions, and 1 are named"):
        run(replace(training(store, tmp_path), state_names=("x",)))


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """The tiny bundle with a reader of its tokens, and its folder."""
    folder = tmp_path / "bundle"
    tiny_bundle.save_pretrained(folder)
    config = StateReaderConfig(
        state_names=NAMES,
        grid=(4, 4),
        code_bits=18,
        encoder_sha256=encoder_sha256(folder / "tokenizer"),
        width=8,
    )
    torch.manual_seed(0)
    found = replace(tiny_bundle, state_reader=StateReader(config).eval())
    found.save_pretrained(folder)
    return found, folder


def test_a_bundle_keeps_its_reader_and_is_the_same_checkpoint_with_it(bundle, tiny_bundle):
    found, folder = bundle
    again = Bundle.from_pretrained(folder).state_reader
    codes = torch.arange(16)[None]
    np.testing.assert_array_equal(again.read(codes), found.state_reader.read(codes))
    digest = checkpoint_sha256(folder)
    shutil.rmtree(folder / "state_reader")
    # It decides nothing of what is imagined.
    assert checkpoint_sha256(folder) == digest
    assert Bundle.from_pretrained(folder).state_reader is None


def test_a_reader_of_other_tokens_is_refused(bundle):
    found, folder = bundle
    config = replace(found.state_reader.config, encoder_sha256="ab" * 32)
    StateReader(config).save_pretrained(folder / "state_reader")
    with pytest.raises(UserError, match="another encoder"):
        Bundle.from_pretrained(folder)


def test_goals_are_read_off_their_pictures_and_nothing_else(bundle, lift_scene):
    found, _ = bundle
    goals = {}
    for seed, top in ((3, 40), (4, 20)):
        rgb, depth_m = lift_scene.render(height=0.05, top=top)
        goals[seed] = Goal(rgb={"front": rgb}, depth_m={"front": depth_m}, state=np.full(3, 9.0))
    read = read_goals(goals, bundle=found, cameras=["front"])
    for seed, goal in goals.items():
        codes = found.tokenizer.encode_rgb(torch.from_numpy(goal.rgb["front"][None]))
        np.testing.assert_allclose(read[seed].state, found.state_reader.read(codes)[0], rtol=1e-6)
    assert np.abs(read[3].state - read[4].state).max() > 1e-3
    with pytest.raises(UserError, match="train state-reader"):
        read_goals(goals, bundle=replace(found, state_reader=None), cameras=["front"])
