"""A tiny scene whose cube moves, recorded with tracks, and a tiny training on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.dataset.writer import DatasetWriter
from roboscape.presets.world_model import lift
from roboscape.reproduce.setup import StudyFlags
from roboscape.world_model.config import WorldModelConfig
from tests.conftest import LENGTH, SIDE, SPEC, make_episode


def with_tracks(seed: int, *, rises: bool):
    """An episode whose points follow the cube, and rest on the table."""
    episode = make_episode(seed, rises=rises)
    random = np.random.default_rng(seed)
    start = random.uniform(4, SIDE - 4, (24, 2))
    xy = np.repeat(start[None], LENGTH, axis=0)
    xy[:, :12, 1] -= np.arange(LENGTH)[:, None] * (1.0 if rises else 0.1)
    tracks = Tracks(
        xy_px=xy.astype(np.float32),
        visible=np.ones((LENGTH, 24), bool),
        on_moving_body=np.arange(24) < 12,
    )
    return replace(episode, tracks={"front": tracks})


def write(root: Path, seeds: list[int]) -> LeRobotDataset:
    with DatasetWriter(root, SPEC) as writer:
        for number, seed in enumerate(seeds):
            writer.add(with_tracks(seed, rises=number % 2 == 1))
    return LeRobotDataset(root)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of six training and three validation episodes."""
    root = tmp_path_factory.mktemp("recordings")
    train = write(root / "train", list(range(6)))
    validation = write(root / "validation", [800_000, 800_001, 800_002])
    return train.root, validation.root


@pytest.fixture(scope="session")
def checkpoint(tiny_bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_bundle.save_pretrained(folder)
    return folder


def tiny_base():
    """The preset at the size of the tiny scene."""
    run = lift()
    model = WorldModelConfig(
        num_layers=1, width=16, heads=2, patch=2, factors=2, max_frames=6, control_field=8
    )
    return replace(run, model=model, batch_size=2, validation_clips=2, device="cpu")


@pytest.fixture
def base():
    return tiny_base


@pytest.fixture
def flags(recordings, checkpoint, tmp_path) -> StudyFlags:
    train, validation = recordings
    return StudyFlags(
        train=train,
        validation=validation,
        output=tmp_path / "study",
        checkpoint=str(checkpoint),
        seeds=2,
        steps=3,
        clips=3,
        horizon=5,
        precision="fp32",
    )
