"""A token store of random numbers, for measuring what does not depend on what is in it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.clips.split import SPLITS, split_of
from roboscape.controls.encoder import ControlStatistics
from roboscape.controls.signals import control_size
from roboscape.core.files import write_json
from roboscape.sources.osc_pose import OSC_POSE_ACTION
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokens.store import (
    CLIPS,
    EPISODES,
    STORE,
    StoreConfig,
    shard_folder,
    whole_episodes,
)

STRIDE, STATE, FIRST_VALIDATION_SEED = 4, 16, 800_000


def make_store(
    root: Path,
    *,
    episodes: int = 8,
    validation: int = 2,
    rows: int = 100,
    points: int = 16,
    tokens_per_side: int = 8,
) -> None:
    """One shard of random tokens; the last episodes are for validation."""
    generator = np.random.default_rng(0)
    seeds = [
        *range(episodes - validation),
        *range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + validation),
    ]
    tokenizer = TokenizerConfig(image_size=16 * tokens_per_side)
    frames, tokens = episodes * rows, tokens_per_side**2
    columns = {
        "rgb": generator.integers(2**18, size=(frames, tokens), dtype=np.int32),
        "depth": generator.integers(2**18, size=(frames, tokens), dtype=np.int32),
        "actions": generator.normal(size=(frames, 7)).astype(np.float32),
        "state": generator.normal(size=(frames, STATE)).astype(np.float32),
        "tracks": generator.uniform(0, tokens_per_side, size=(frames, points, 2)).astype(
            np.float16
        ),
        "visible": np.ones((frames, points), bool),
    }
    folder = shard_folder(root, 0)
    folder.mkdir(parents=True)
    for name, array in columns.items():
        np.save(folder / f"{name}.npy", array)
    starts = rows * np.arange(episodes)
    table = {
        "shard": 0 * starts,
        "first_row": starts,
        "length": 0 * starts + rows,
        "seed": seeds,
        "split": [SPLITS.index(split_of(seed)) for seed in seeds],
    }
    pq.write_table(pa.table(table), root / EPISODES)
    np.save(root / CLIPS, whole_episodes(table["length"]))
    write_json(root / STORE, asdict(store_config(tokenizer)))


def store_config(tokenizer: TokenizerConfig) -> StoreConfig:
    """The description of a Lift store."""
    size = control_size(OSC_POSE_ACTION, stride=STRIDE, state_size=STATE)
    return StoreConfig(
        tokenizer=tokenizer,
        tokenizer_sha256="synthetic",
        cameras=("agentview",),
        annotator="simulator",
        datasets=("synthetic",),
        controls=ControlStatistics(
            convention=OSC_POSE_ACTION,
            stride=STRIDE,
            state_size=STATE,
            mean=(0.0,) * size,
            std=(1.0,) * size,
        ),
        has_depth=True,
    )
