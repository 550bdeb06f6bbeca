"""Small datasets of moving squares, a random tokenizer, and a store made of both."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Tracks,
)
from roboscape.dataset.writer import DatasetWriter
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig
from roboscape.tokens.build import Tokenize

SIDE = 32
POINTS = 4

SPEC = DatasetSpec(
    fps=20.0,
    robot_type="panda",
    cameras=(CameraSpec(name="front", height=SIDE, width=SIDE, has_depth=True),),
    state_names=("x", "y"),
    action=ActionConvention(
        mode="delta",
        names=("x", "gripper"),
        units=("m", "1"),
        scale=(0.05, 1.0),
        frame="robot_base",
        rotation="none",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    ),
    depth_min_m=0.3,
    depth_max_m=3.0,
    source="test",
)


def make_episode(seed: int, *, length: int = 14) -> Episode:
    random = np.random.default_rng(seed)
    frames = random.integers(100, 110, (length, SIDE, SIDE, 3), dtype=np.uint8)
    depth_m = np.full((length, SIDE, SIDE), 1.5, np.float32)
    corner = 4 + np.arange(length)
    for t in range(length):
        frames[t, 8:20, corner[t] : corner[t] + 8] = 220
        depth_m[t, 8:20, corner[t] : corner[t] + 8] = 0.6
    xy = np.zeros((length, POINTS, 2), np.float32)
    xy[:, 0] = np.stack([corner, np.full(length, 10)], axis=1)
    xy[:, 1:] = random.uniform(0, SIDE - 1, (1, POINTS - 1, 2))
    return Episode(
        frames={"front": frames},
        depth_m={"front": depth_m},
        actions=random.uniform(-1, 1, (length, 2)).astype(np.float32),
        state=random.normal(size=(length, 2)).astype(np.float32),
        reward=np.zeros(length, np.float32),
        task="push",
        success=True,
        seed=seed,
        behaviour="expert",
        tracks={"front": Tracks(xy_px=xy, visible=np.ones((length, POINTS), bool))},
    )


def write_dataset(root: Path, seeds: list[int], *, length: int = 14) -> Path:
    with DatasetWriter(root, SPEC) as writer:
        for seed in seeds:
            writer.add(make_episode(seed, length=length))
    return root


def make_tokenizer(folder: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    config = TokenizerConfig(
        image_size=SIDE,
        encoder_width=16,
        decoder_width=32,
        decoder_blocks=1,
        decoder_heads=2,
        convolution_width=16,
        depth_min_m=0.3,
        depth_max_m=3.0,
    )
    Tokenizer(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Files:
    """What a store is made from."""

    train: Path
    validation: Path
    tokenizer: Path
    other_tokenizer: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Files:
    root = tmp_path_factory.mktemp("tokens")
    return Files(
        train=write_dataset(root / "train", [0, 1, 2, 3, 4]),
        validation=write_dataset(root / "validation", [800_000, 800_001]),
        tokenizer=make_tokenizer(root / "tokenizer", seed=0),
        other_tokenizer=make_tokenizer(root / "other_tokenizer", seed=1),
    )


@pytest.fixture
def config(files, tmp_path) -> Tokenize:
    return Tokenize(
        datasets=(files.train, files.validation),
        tokenizer=str(files.tokenizer),
        output=tmp_path / "store",
        stride=2,
        points=6,
        episodes_per_shard=2,
    )


@pytest.fixture
def with_other_tokenizer(config, files) -> Tokenize:
    return replace(config, tokenizer=str(files.other_tokenizer))
