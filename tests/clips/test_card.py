import re
from html.parser import HTMLParser

import numpy as np
import pytest

from roboscape.annotate.pipeline_failures import Outcome, record_failure
from roboscape.clips.card import Card, run
from roboscape.clips.card_drawing import bars, histogram, ribbon, table
from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.dataset.annotations import Provenance, begin_annotation, write_tracks
from roboscape.dataset.records import Tracks

VOID = {"meta", "img", "br", "rect", "link"}


class Balance(HTMLParser):
    """Counts what is opened and not closed, and collects addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.fixture
def annotated(lift_dataset, tmp_path):
    """Episode 0 moves, episode 1 stands still, episode 2 could not be tracked."""
    root = tmp_path / "annotations"
    made_by = Provenance(kind="tracks", name="toy", version="1", settings={"a": "<b>"})
    begin_annotation(root, made_by)
    for episode, speed in enumerate((3.0, 0.0)):
        xy_px = np.zeros((17, 4, 2), np.float32)
        xy_px[:, :, 0] = speed * np.arange(17)[:, None]
        tracks = Tracks(xy_px=xy_px, visible=np.ones((17, 4), bool))
        write_tracks(root, tracks, annotator="toy", camera="front", episode=episode)
    failed = Outcome(camera="front", episode=2, reason="ValueError: a <torn> file")
    record_failure(root / "tracks_toy" / "failures.jsonl", failed)
    index = index_clips(
        IndexClips(
            dataset=lift_dataset.root,
            annotations=root,
            tracks="toy",
            length=4,
            stride=2,
            every=5,
            output=root / "clips.parquet",
        )
    )
    return Card(dataset=lift_dataset.root, index=index, annotations=root, thumbnail_px=32)


def test_the_card_says_what_was_kept_and_what_was_dropped_and_why(annotated):
    path = run(annotated)
    assert path == annotated.annotations / "card.html"
    page = path.read_text()
    assert "3 of 9 clips kept (33%)" in page
    assert "still: 0.0 px &lt; 4 px" in page and "not annotated: ValueError" in page
    assert "a &lt;torn&gt; file" in page and "<torn>" not in page
    assert "lift the red cube" in page
    assert page.count('class="group"') == 2 + 3, "two reasons, three difficulties"


def test_the_card_is_one_whole_page_that_asks_the_network_for_nothing(annotated):
    page = run(annotated).read_text()
    addresses = checked(page).addresses
    assert len(addresses) == 9, "nine clips, all shown"
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"https?://", page) and "$" not in page


def test_a_clip_that_cannot_be_read_is_shown_without_a_picture(annotated, monkeypatch):
    def broken(*_):
        raise ValueError("torn")

    monkeypatch.setattr("roboscape.clips.card.read_row", broken)
    page = run(annotated).read_text()
    assert page.count("cannot be read") == 9 and not checked(page).addresses


def test_a_dataset_without_an_index_is_told_what_to_run(lift_dataset, tmp_path):
    with pytest.raises(ValueError, match="roboscape clips"):
        run(Card(dataset=lift_dataset.root, index=tmp_path / "clips.parquet"))


def test_bars_are_ordered_and_the_rare_share_one():
    drawn = bars({f"kind {n}": n for n in range(1, 21)}, of=210)
    checked(drawn)
    assert drawn.index("kind 20") < drawn.index("kind 19") and "8 others" in drawn
    assert "<b>36</b>" in drawn, "1 + ... + 8"


def test_histograms_stack_dropped_upon_kept():
    drawn = histogram("Motion", [0.0, 0.0, 0.0, 1.0], keep=[True, True, False, True])
    checked(drawn)
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"', drawn)]
    assert heights == [60.0, 30.0, 30.0]
    assert histogram("Nothing", [], keep=[]) == ""


def test_what_is_the_same_everywhere_is_a_number_and_no_histogram():
    drawn = histogram("Constant", [2.0, 2.0], keep=[False, True])
    checked(drawn)
    assert ">2<" in drawn and "<svg" not in drawn


def test_the_ribbon_gives_every_clip_its_share():
    drawn = ribbon({"still": 2, "<cut>": 3}, kept=5)
    checked(drawn)
    assert re.findall(r"flex:(\d+)", drawn) == ["5", "3", "2"], "kept, then the commonest reason"
    assert "kept 50%" in drawn and "&lt;cut&gt; 30% · still 20%" in drawn
    assert "nothing dropped" in ribbon({}, kept=4)
    checked(ribbon({}, kept=0))


def test_tables_hold_words_not_tags():
    assert "&lt;i&gt;" in table(("a",), [("<i>",)])
