import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboscape.controls.encoder import ControlStatistics
from roboscape.controls.signals import control_size
from roboscape.core.config import save_config
from roboscape.dataset.records import ActionConvention
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokens.store import (
    CLIPS,
    EPISODES,
    STORE,
    StoreConfig,
    TokenStore,
    shard_folder,
    whole_episodes,
)

CONVENTION = ActionConvention(
    mode="delta",
    names=("x", "gripper"),
    units=("m", "1"),
    scale=(0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
SIDE, ROWS, STRIDE, POINTS, STATE = 4, 70, 4, 3, 2


@pytest.fixture(scope="session")
def token_store(tmp_path_factory):
    """Three training and two validation episodes of random codes at 4 x 4 tokens a frame."""
    root = tmp_path_factory.mktemp("tokens")
    random = np.random.default_rng(0)
    seeds = [0, 1, 2, 800_000, 800_001]
    frames = ROWS * len(seeds)
    columns = {
        "rgb": random.integers(2**18, size=(frames, SIDE**2), dtype=np.int32),
        "depth": random.integers(2**18, size=(frames, SIDE**2), dtype=np.int32),
        "actions": random.normal(size=(frames, 2)).astype(np.float32),
        "state": random.normal(size=(frames, STATE)).astype(np.float32),
        "tracks": random.uniform(0, SIDE, size=(frames, POINTS, 2)).astype(np.float16),
        "visible": np.ones((frames, POINTS), dtype=bool),
    }
    folder = shard_folder(root, 0)
    folder.mkdir(parents=True)
    for name, array in columns.items():
        np.save(folder / f"{name}.npy", array)
    episodes = {
        "shard": [0] * len(seeds),
        "first_row": [ROWS * index for index in range(len(seeds))],
        "length": [ROWS] * len(seeds),
        "seed": seeds,
        "split": [0, 0, 0, 1, 1],
    }
    pq.write_table(pa.table(episodes), root / EPISODES)
    np.save(root / CLIPS, whole_episodes(np.array(episodes["length"])))
    size = control_size(CONVENTION, stride=STRIDE, state_size=STATE)
    config = StoreConfig(
        tokenizer=TokenizerConfig(image_size=16 * SIDE),
        tokenizer_sha256="0" * 64,
        cameras=("front",),
        annotator="simulator",
        datasets=("toy",),
        controls=ControlStatistics(
            convention=CONVENTION,
            stride=STRIDE,
            state_size=STATE,
            mean=(0.0,) * size,
            std=(1.0,) * size,
        ),
        has_depth=True,
    )
    save_config(config, root / STORE)
    return TokenStore(root)


@pytest.fixture(scope="session")
def graded_store(token_store, tmp_path_factory):
    """The same store; the first training episode is easy, the others medium and hard."""
    root = tmp_path_factory.mktemp("graded") / "tokens"
    shutil.copytree(token_store.root, root)
    clips = np.load(root / CLIPS)
    clips[:, 3] = [0, 1, 2, 1, 1]
    np.save(root / CLIPS, clips)
    return TokenStore(root)
