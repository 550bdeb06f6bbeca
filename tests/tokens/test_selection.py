import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboscape.dataset.annotations import annotations_folder, write_values
from roboscape.tokens.selection import kept_starts

SEEN = {"cameras": ("front",), "stride": 2}


@dataclass(frozen=True)
class Place:
    dataset: int
    episode: int
    length: int


def write_index(dataset, rows, *, camera="front", cuts=""):
    folder = annotations_folder(dataset.root)
    folder.mkdir(exist_ok=True)
    names = ("episode", "start", "stride", "keep", "difficulty")
    places = [{**dict(zip(names, row, strict=True)), "camera": camera} for row in rows]
    about = {"roboscape": json.dumps({"cuts": cuts, "annotations": None})}
    table = pa.Table.from_pylist(places).replace_schema_metadata(about)
    pq.write_table(table, folder / "clips.parquet")


@pytest.fixture
def index(lift_train_dataset):
    yield lambda *rows, **about: write_index(lift_train_dataset, rows, **about)
    (annotations_folder(lift_train_dataset.root) / "clips.parquet").unlink(missing_ok=True)


def test_rows_up_to_the_next_clip_are_kept_and_graded_with_it(lift_train_dataset, index):
    index(
        (0, 0, 2, True, "easy"),
        (0, 6, 2, False, ""),
        (0, 12, 2, True, "hard"),
        (1, 0, 2, False, ""),
    )
    places = [Place(0, 0, 17), Place(0, 1, 17), Place(0, 2, 5)]
    found = kept_starts(places, [lift_train_dataset], **SEEN)
    assert found.tolist() == [[0, 0, 6, 0, 17], [0, 12, 17, 2, 17]]


def test_without_an_index_every_row_counts_ungraded_and_that_is_said(lift_train_dataset, caplog):
    caplog.set_level("INFO")
    found = kept_starts([Place(0, 0, 17), Place(0, 1, 9)], [lift_train_dataset], **SEEN)
    assert found.tolist() == [[0, 0, 17, -1, 17], [1, 0, 9, -1, 9]]
    assert "no clip index" in caplog.text


def test_an_index_for_another_stride_is_refused(lift_train_dataset, index):
    index((0, 0, 4, True, "easy"))
    with pytest.raises(ValueError, match="stride 4, the store is for stride 2"):
        kept_starts([Place(0, 0, 17)], [lift_train_dataset], **SEEN)


def test_an_index_of_another_camera_is_refused(lift_train_dataset, index):
    index((0, 0, 2, True, "easy"), camera="wrist")
    with pytest.raises(ValueError, match="camera wrist, the store is for camera front"):
        kept_starts([Place(0, 0, 17)], [lift_train_dataset], **SEEN)


def test_an_index_of_any_view_speaks_for_all(lift_train_dataset, index):
    index((0, 0, 2, True, "easy"))
    found = kept_starts(
        [Place(0, 0, 17)], [lift_train_dataset], cameras=("wrist", "front"), stride=2
    )
    assert found.tolist() == kept_starts([Place(0, 0, 17)], [lift_train_dataset], **SEEN).tolist()
    with pytest.raises(ValueError, match="camera front, the store is for camera wrist and left"):
        kept_starts([Place(0, 0, 17)], [lift_train_dataset], cameras=("wrist", "left"), stride=2)


def test_an_index_that_does_not_say_whose_cuts_it_went_by_is_refused(lift_train_dataset, index):
    index((0, 0, 2, True, "easy"))
    path = annotations_folder(lift_train_dataset.root) / "clips.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match="roboscape clips"):
        kept_starts([Place(0, 0, 17)], [lift_train_dataset], **SEEN)


def test_ranges_end_at_camera_cuts_and_name_their_shots_end(lift_train_dataset, index):
    root = annotations_folder(lift_train_dataset.root)
    for episode, rows in ((0, [9]), (1, [])):
        write_values(
            root,
            {"rows": rows},
            kind="cuts",
            annotator="a_test",
            camera="front",
            episode=episode,
        )
    index((0, 0, 2, True, "easy"), (0, 8, 2, True, "hard"), (1, 0, 2, True, "easy"), cuts="a_test")
    found = kept_starts([Place(0, 0, 17), Place(0, 1, 17)], [lift_train_dataset], **SEEN)
    assert found.tolist() == [
        [0, 0, 8, 0, 9],
        [0, 8, 9, 2, 9],
        [0, 9, 17, 2, 17],
        [1, 0, 17, 0, 17],
    ]
