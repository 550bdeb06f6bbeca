from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboscape.dataset.annotations import annotations_folder
from roboscape.tokens.selection import kept_starts


@dataclass(frozen=True)
class Place:
    dataset: int
    episode: int
    length: int


def write_index(dataset, rows):
    folder = annotations_folder(dataset.root)
    folder.mkdir(exist_ok=True)
    names = ("episode", "start", "stride", "keep", "difficulty")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    pq.write_table(table, folder / "clips.parquet")


@pytest.fixture
def index(lift_train_dataset):
    yield lambda *rows: write_index(lift_train_dataset, rows)
    (annotations_folder(lift_train_dataset.root) / "clips.parquet").unlink(missing_ok=True)


def test_rows_up_to_the_next_clip_follow_a_clips_verdict_and_grade(lift_train_dataset, index):
    index(
        (0, 0, 2, True, "easy"),
        (0, 6, 2, False, ""),
        (0, 12, 2, True, "hard"),
        (1, 0, 2, False, ""),
    )
    places = [Place(0, 0, 17), Place(0, 1, 17), Place(0, 2, 5)]
    found = kept_starts(places, [lift_train_dataset], stride=2)
    assert found.tolist() == [[0, 0, 6, 0], [0, 12, 17, 2]]


def test_without_an_index_every_row_counts_ungraded_and_that_is_said(lift_train_dataset, caplog):
    caplog.set_level("INFO")
    found = kept_starts([Place(0, 0, 17), Place(0, 1, 9)], [lift_train_dataset], stride=2)
    assert found.tolist() == [[0, 0, 17, -1], [1, 0, 9, -1]]
    assert "no clip index" in caplog.text


def test_an_index_for_another_stride_is_refused(lift_train_dataset, index):
    index((0, 0, 4, True, "easy"))
    with pytest.raises(ValueError, match="stride 4, the store is for stride 2"):
        kept_starts([Place(0, 0, 17)], [lift_train_dataset], stride=2)
