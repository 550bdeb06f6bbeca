"""What an episode is for: the user's word, the column, the simulator's seed, a share of counts."""

from collections import Counter
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from roboscape.clips.split import episodes_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.splits import (
    SPLITS_FILE,
    SplitChoice,
    SplitShares,
    complete_splits,
    save_splits,
)
from roboscape.dataset.writer import DatasetWriter
from tests.dataset import old_versions


def splits_of(root):
    dataset = LeRobotDataset(root)
    return [dataset.episode_info(number).split for number in range(dataset.num_episodes)]


def write(root, spec, episodes):
    with DatasetWriter(root, spec) as writer:
        for episode in episodes:
            writer.add(episode)
    return root


@pytest.mark.parametrize("validation", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("test", [0.0, 0.05])
def test_shares_are_of_counts_whatever_the_number(validation, test):
    shares = SplitShares(validation=validation, test=test)
    for count in range(2, 120):
        found = Counter(complete_splits([None] * count, shares))
        most = count - 1 - found["test"]
        assert found["test"] == min(round(test * count), count - 2)
        due = min(max(1, round(validation * count)), most)
        # Where both counts grow with the same episode, it is for tests and the next for validation.
        assert due - (test > 0) <= found["validation"] <= due
        assert found["train"] >= 1


def test_six_episodes_with_three_tenths_held_out_leave_four():
    found = complete_splits([None] * 6, SplitShares(validation=0.3))
    assert Counter(found) == {"train": 4, "validation": 2}


def test_an_episode_keeps_its_split_when_others_are_appended():
    shares = SplitShares(validation=0.2, test=0.1)
    longer = complete_splits([None] * 300, shares)
    assert all(complete_splits([None] * n, shares) == longer[:n] for n in range(300))


def test_a_share_of_nothing_holds_out_nothing():
    assert set(complete_splits([None] * 50, SplitShares(validation=0.0, test=0.0))) == {"train"}


def test_the_writer_keeps_a_column_which_counts_more_than_the_seed(tmp_path, spec, make_episode):
    seeds = (3, 800_000, 900_000)
    episodes = [replace(make_episode(0), seed=seed) for seed in seeds]
    root = write(tmp_path / "d", spec, [*episodes, replace(episodes[0], split="test")])
    assert splits_of(root) == ["train", "validation", "test", "test"]
    (path,) = (root / "meta/episodes").rglob("*.parquet")
    assert pq.read_table(path)["split"].to_pylist() == splits_of(root)
    assert LeRobotDataset(root).episode(3).split == "test"


def test_a_dataset_of_an_older_version_goes_by_its_seeds(tmp_path, spec, make_episode):
    seeds = (3, 800_000, 900_000)
    episodes = [replace(make_episode(0), seed=seed) for seed in seeds]
    root = write(tmp_path / "d", spec, episodes)
    (path,) = (root / "meta/episodes").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    assert splits_of(root) == ["train", "validation", "test"]
    write(root, spec, [replace(make_episode(0), split="validation")])
    assert splits_of(root) == ["train", "validation", "test", "validation"]


def test_a_lerobot_dataset_without_our_columns_holds_some_out(tmp_path):
    old_versions.write_dataset(tmp_path / "d", version="v2.1", image_kind="video")
    assert splits_of(tmp_path / "d") == ["train", "validation"]
    assert episodes_of(LeRobotDataset(tmp_path / "d"), "validation") == [1]
    assert not (tmp_path / "d" / "annotations").exists(), "reading writes nothing"


def test_the_users_word_counts_most_and_the_rule_goes_on_after_it(dataset):
    assert splits_of(dataset) == ["train"] * 5
    shares = SplitShares(validation=0.4, test=0.0)
    save_splits(dataset, SplitChoice(shares=shares, splits=("test", "train", "validation")))
    # The others have a seed, which says that they are for training.
    assert splits_of(dataset) == ["test", "train", "validation", "train", "train"]


def test_a_word_that_is_no_split_is_refused(dataset):
    choice = SplitChoice(shares=SplitShares(), splits=("train",))
    save_splits(dataset, choice)
    path = dataset / SPLITS_FILE
    path.write_text(path.read_text().replace('"train"', '"trian"'))
    with pytest.raises(ValueError, match="trian"):
        LeRobotDataset(dataset)
