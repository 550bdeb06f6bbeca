"""A small dataset's spec and episodes that fit it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Tracks,
)
from roboscape.dataset.writer import DatasetWriter

SIDE = 32


@pytest.fixture
def convention() -> ActionConvention:
    return ActionConvention(
        mode="delta",
        names=("x", "y", "gripper"),
        units=("m", "m", "1"),
        scale=(0.05, 0.05, 1.0),
        frame="robot_base",
        rotation="none",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    )


@pytest.fixture
def spec(convention: ActionConvention) -> DatasetSpec:
    return DatasetSpec(
        fps=20.0,
        robot_type="panda",
        cameras=(
            CameraSpec(name="front", height=SIDE, width=SIDE, has_depth=True),
            CameraSpec(name="wrist", height=SIDE, width=SIDE),
        ),
        state_names=("eef_x", "eef_y"),
        action=convention,
        source="test",
    )


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    return _episode


def _episode(seed: int = 0, *, length: int = 12, **changes: object) -> Episode:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = [
        np.stack([np.sin((x + 2 * t) / 5), np.sin(y / 6 + seed), np.cos((x + y - t) / 7)], -1)
        for t in range(length)
    ]
    frames = (127 + 100 * np.stack(waves)).astype(np.uint8)
    depth_m = np.stack([0.3 + x / SIDE + 0.02 * t for t in range(length)]).astype(np.float32)
    tracks = Tracks(
        xy_px=random.uniform(0, SIDE, (length, 5, 2)).astype(np.float32),
        visible=random.random((length, 5)) < 0.8,
        on_moving_body=np.arange(5) < 2,
    )
    episode = Episode(
        frames={"front": frames, "wrist": 255 - frames},
        depth_m={"front": depth_m},
        actions=random.uniform(-1, 1, (length, 3)).astype(np.float32),
        state=random.normal(size=(length, 2)).astype(np.float32),
        reward=random.random(length).astype(np.float32),
        task="lift the cube" if seed % 2 else "push the cube",
        success=bool(seed % 2),
        seed=1000 + seed,
        behaviour="expert",
        tracks={"front": tracks},
    )
    return replace(episode, **changes)


@pytest.fixture
def dataset(tmp_path: Path, spec: DatasetSpec) -> Path:
    """Five episodes of lengths 12 to 16 in three parts."""
    root = tmp_path / "dataset"
    with DatasetWriter(root, spec, episodes_per_file=2) as writer:
        for seed in range(5):
            writer.add(_episode(seed, length=12 + seed))
    return root
