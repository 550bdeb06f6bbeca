import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from roboscape.clips.split import SPLITS
from roboscape.dataset.annotations import annotations_folder, write_values
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.splits import SplitChoice, SplitShares, save_splits
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.build import run
from roboscape.tokens.store import ClipTable, TokenStore

SHAPE = {"length": 4, "stride": 2}


@pytest.fixture
def store(config) -> TokenStore:
    return run(config)


def test_a_random_clip_is_what_direct_encoding_gives(store, files):
    tokenizer = Tokenizer.from_pretrained(files.tokenizer)
    dataset = LeRobotDataset(files.train)
    table = store.clips("train", **SHAPE)
    chosen = np.random.default_rng(0).integers(len(table), size=6)
    clips = store.batch(chosen, split="train", **SHAPE)
    for row, (episode, start) in enumerate(zip(*table.locate(chosen), strict=True)):
        episode, start = int(episode), int(start)
        rows = slice(start, start + 7, 2)
        with torch.inference_mode():
            rgb = tokenizer.encode_rgb(torch.from_numpy(dataset.frames(episode, "front", rows)))
            depth_m = torch.from_numpy(dataset.depth_m(episode, "front", rows))
            depth = tokenizer.encode_depth(depth_m)
        assert torch.equal(clips.rgb[row], rgb)
        assert torch.equal(clips.depth[row], depth)
        state = dataset.state(episode)
        (expected,) = store.controls.encode(
            dataset.actions(episode)[None, start : start + 6],
            state[None, start],
            state_before=state[None, max(start - 1, 0)],
        )
        torch.testing.assert_close(clips.controls[row], expected)


def test_clips_are_every_start_of_the_split(store):
    train, validation = store.clips("train", **SHAPE), store.clips("validation", **SHAPE)
    assert len(train) == 5 * (14 - 6) and len(validation) == 2 * (14 - 6)
    assert train.first_of_episodes().tolist() == [0, 8, 16, 24, 32]
    for table, split in ((train, "train"), (validation, "validation")):
        episode, start = table.locate(np.arange(len(table)))
        assert {SPLITS[number] for number in store.episodes.split[episode]} == {split}
        assert (start + 6 < store.episodes.length[episode]).all()
        assert len({*zip(episode.tolist(), start.tolist(), strict=True)}) == len(table)


def test_a_clip_is_found_in_its_range():
    table = ClipTable(
        episode=np.array([3, 4, 4, 5, 7, 8]),
        first=np.array([0, 0, 9, 0, 2, 0]),
        ends=np.array([0, 3, 5, 5, 6, 6]),
        grade=np.array([0, 0, 2, 0, 1, 0]),
    )
    assert len(table) == 6
    episode, start = table.locate(np.array([5, 0, 2, 3, 4]))
    assert episode.tolist() == [7, 4, 4, 4, 4]
    assert start.tolist() == [2, 0, 2, 9, 10]
    assert table.first_of_episodes().tolist() == [0]
    with pytest.raises(IndexError, match="from 0 to 5"):
        table.locate(np.array([6]))


def test_controls_are_normalised_over_training_clips(store):
    clips = store.batch(
        np.arange(len(store.clips("train", **SHAPE))), split="train", **SHAPE
    ).controls
    assert clips.shape[-1] == store.control_size
    assert not clips[:, 0].any(), "nothing led into the first frame"
    # The statistics are measured on clips of 16 frames; these are shorter.
    assert clips[:, 1:, :4].mean().abs() < 0.2
    assert 0.7 < clips[:, 1:, :4].std() < 1.3


def test_arrays_are_mapped_not_read(store):
    arrays = store._shard(0)
    assert all(isinstance(array.base, np.memmap) for array in arrays.values())


def test_another_stride_is_refused(store):
    with pytest.raises(ValueError, match="stride 2, got 4"):
        store.batch(np.array([0]), split="train", length=3, stride=4)


def test_a_split_or_length_that_is_not_there_is_refused(store):
    with pytest.raises(ValueError, match="no test clip"):
        store.clips("test", **SHAPE)
    with pytest.raises(ValueError, match="no train clip of 16 frames"):
        store.clips("train", length=16, stride=2)


def test_no_store_is_no_store(tmp_path):
    with pytest.raises(ValueError, match="roboscape tokenize"):
        TokenStore(tmp_path)


def test_opening_again_gives_the_same_clips(store, config):
    again = TokenStore(config.output)
    assert again.config == store.config
    indices = np.array([1, 5])
    first = vars(store.batch(indices, split="validation", **SHAPE))
    second = vars(again.batch(indices, split="validation", **SHAPE))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_store_of_other_statistics_is_no_store(store):
    with pytest.raises(ValueError, match="control signals"):
        replace(store.config.controls, mean=(0.0,))


def test_no_training_clip_crosses_a_cut(config, files):
    """An indexed start stands for the rows up to the next; each start's own span must be whole."""
    cut = 9
    root = annotations_folder(files.train)
    index = {"episode": 0, "start": 0, "stride": 2, "camera": "front", "keep": True}
    table = pa.Table.from_pylist([{**index, "difficulty": "easy"}])
    about = {"roboscape": json.dumps({"cuts": "a_test", "annotations": None})}
    pq.write_table(table.replace_schema_metadata(about), root / "clips.parquet")
    where = {"kind": "cuts", "annotator": "a_test", "camera": "front", "episode": 0}
    write_values(root, {"rows": [cut]}, **where)
    try:
        store = run(replace(config, datasets=(files.train,)))
    finally:
        (root / "clips.parquet").unlink()
    for length, expected in ((4, [0, 1, 2]), (3, [0, 1, 2, 3, 4, 9]), (2, [*range(7), 9, 10, 11])):
        table = store.clips("train", length=length, stride=2)
        _, start = table.locate(np.arange(len(table)))
        assert start.tolist() == expected


def test_a_store_of_an_older_format_says_what_to_do(store):
    path = store.root / "store.json"
    content = json.loads(path.read_text())
    del content["version"]
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"format 1, this version reads 2.*tokenize.*nothing twice"
    ):
        TokenStore(store.root)


def test_another_split_encodes_nothing_and_moves_the_clips(config, files, tmp_path):
    own = tmp_path / "train"
    shutil.copytree(files.train, own)
    moving = replace(config, datasets=(own,))
    before = {path: path.stat().st_mtime_ns for path in run(moving).root.glob("shard_*/*.npy")}
    splits = ("validation", *["train"] * 4)
    save_splits(own, SplitChoice(shares=SplitShares(), splits=splits))
    store = run(moving)
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("shard_*/*.npy")} == before
    table = store.clips("validation", **SHAPE)
    assert set(table.locate(np.arange(len(table)))[0].tolist()) == {0}
