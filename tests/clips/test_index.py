import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from roboscape.annotate.pipeline_failures import Outcome, record_failure
from roboscape.clips.index import IndexClips, annotators_of, read_index, run
from roboscape.dataset.annotations import (
    Provenance,
    annotations_folder,
    begin_annotation,
    write_values,
)
from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Tracks,
)
from roboscape.dataset.writer import DatasetWriter

SPEC = DatasetSpec(
    fps=20.0,
    robot_type="panda",
    cameras=(CameraSpec(name="front", height=32, width=32),),
    state_names=("x",),
    action=ActionConvention(
        mode="delta",
        names=("x",),
        units=("m",),
        scale=(1.0,),
        frame="robot_base",
        rotation="none",
        gripper="none",
        action_hz=20.0,
    ),
    source="table",
)


def episode(seed, xy_px):
    length = len(xy_px)
    return Episode(
        frames={"front": np.zeros((length, 32, 32, 3), np.uint8)},
        depth_m={},
        actions=np.zeros((length, 1), np.float32),
        state=np.zeros((length, 1), np.float32),
        reward=np.zeros(length, np.float32),
        task="slide the block",
        success=True,
        seed=seed,
        behaviour="expert",
        tracks={"front": Tracks(xy_px=xy_px, visible=np.ones(xy_px.shape[:2], bool))},
    )


def paths(length, x):
    xy = np.zeros((length, 5, 2), np.float32)
    xy[:, 0, 0] = x
    return xy


@pytest.fixture
def config(tmp_path) -> IndexClips:
    t = np.arange(20)
    with DatasetWriter(tmp_path / "data", SPEC) as writer:
        writer.add(episode(0, paths(20, t)))
        writer.add(episode(800_000, paths(20, 0 * t)))
        writer.add(episode(900_000, paths(20, 9.0 * (t // 2 % 2))))
    return IndexClips(dataset=tmp_path / "data", length=5, stride=2, every=4)


def test_every_clip_is_listed_with_its_split_and_filtered(config):
    table = pq.read_table(run(config)).to_pylist()
    assert [row["start"] for row in table if row["episode"] == 0] == [0, 4, 8]
    assert [row["split"] for row in table[::3]] == ["train", "validation", "test"]
    assert [row["keep"] for row in table[::3]] == [True, False, False]
    moving, still, shaking = table[0], table[3], table[6]
    assert moving["motion_px"] == pytest.approx(8.0) and moving["reason"] == ""
    assert still["reason"].startswith("still: 0.0 px")
    assert shaking["reason"].startswith("disordered: 1.00")
    assert moving["skill"] == "slide the block" and moving["scene"] == "table"
    assert moving["difficulty"] and not still["difficulty"]


def test_the_index_can_go_elsewhere(config, tmp_path):
    path = run(replace(config, output=tmp_path / "elsewhere" / "clips.parquet"))
    assert path == tmp_path / "elsewhere" / "clips.parquet" and path.is_file()


def test_length_and_stride_stay_those_of_the_index_that_is_there(config, tmp_path):
    before = pq.read_table(run(config))
    again = replace(config, length=0, stride=0)
    assert pq.read_table(run(again)).equals(before)
    (longer,) = set(pq.read_table(run(replace(again, length=6)))["length"].to_pylist())
    assert longer == 6
    with pytest.raises(ValueError, match="for 16 frames at stride 4"):
        run(replace(again, output=tmp_path / "none_here.parquet"))


def test_too_long_a_clip_is_refused(config):
    with pytest.raises(ValueError, match="longest has 20 rows"):
        run(replace(config, length=16))


def test_tracks_that_are_not_there_are_asked_for(config):
    with pytest.raises(ValueError, match="--tracks simulator"):
        run(replace(config, tracks="optical_flow"))
    annotated = annotations_folder(config.dataset) / "tracks_simulator" / "front"
    (annotated / "episode_000001.npz").unlink()
    with pytest.raises(ValueError, match="roboscape annotate"):
        run(config)


def annotated_by(config, *names, kind="tracks"):
    """The dataset of `config`, with the annotations that were there by these annotators instead."""
    root = annotations_folder(config.dataset)
    found = next(root.glob(f"{kind}_*"))
    for name in names:
        copy = root / f"{kind}_{name}"
        shutil.copytree(found, copy)
        about = json.loads((copy / "provenance.json").read_text()) | {"name": name}
        (copy / "provenance.json").write_text(json.dumps(about))
    shutil.rmtree(found)


def test_the_only_annotator_of_tracks_is_taken_where_none_is_named(config):
    expected = pq.read_table(run(config))
    annotated_by(config, "lucas_kanade")
    assert pq.read_table(run(config)) == expected


def test_true_tracks_are_taken_before_estimated_ones(config):
    root = annotations_folder(config.dataset)
    begin_annotation(root, Provenance(kind="tracks", name="cotracker3", version="1", settings={}))
    assert annotators_of(config, root=root).tracks == "simulator"


def test_a_choice_between_annotators_is_asked_for_by_the_flag_to_type(config):
    annotated_by(config, "cotracker3", "lucas_kanade")
    with pytest.raises(ValueError, match=r"by cotracker3, lucas_kanade; .*`--tracks cotracker3`"):
        run(config)


def test_without_tracks_the_command_that_makes_them_is_named(config):
    annotated_by(config)
    with pytest.raises(ValueError, match=f"`roboscape annotate {config.dataset} --depth none`"):
        run(config)


@pytest.mark.parametrize(("asked", "kept"), [(None, False), ("none", True)])
def test_camera_cuts_count_where_there_are_any_and_nobody_says_otherwise(config, asked, kept):
    root = annotations_folder(config.dataset)
    by = Provenance(kind="cuts", name="scene_detect", version="1", settings={})
    begin_annotation(root, by)
    for episode in range(3):
        write_values(
            root, {"rows": [3]}, kind="cuts", annotator=by.name, camera="front", episode=episode
        )
    first = next(read_index(run(replace(config, cuts=asked))))
    assert (first.start, first.keep) == (0, kept)
    assert first.reason.startswith("" if kept else "cut: ")


def write_segments(config, episode, *segments):
    values = [
        {
            "first": first,
            "end": end,
            "skill": skill,
            "key_row": key,
            "relevant_first": relevant,
            "relevant_end": end,
            "confidence": 1.0,
        }
        for first, end, skill, key, relevant in segments
    ]
    write_values(
        annotations_folder(config.dataset),
        {"segments": values},
        kind="segments",
        annotator="kinematic",
        camera="front",
        episode=episode,
    )


def sliced(config):
    write_segments(config, 0, (0, 6, "reach", 5, 0), (6, 20, "slide", 10, 12))
    write_segments(config, 1, (0, 20, "wait", 0, 0))
    write_segments(config, 2, (0, 20, "shake", 0, 0))
    return replace(config, segments="kinematic")


def test_segments_name_the_skill_and_the_key_frame(config):
    first, second, third = pq.read_table(run(sliced(config))).to_pylist()[:3]
    assert (first["skill"], first["skill_share"], first["key_frame"]) == ("reach", 0.6, 2)
    assert (third["skill"], third["skill_share"], third["key_frame"]) == ("slide", 1.0, 1)
    assert second["relevance"] == pytest.approx(2 / 5)
    assert second["reason"].startswith("irrelevant: 0.40") and first["keep"]


def test_mixed_clips_are_left_out_where_asked(config):
    rows = pq.read_table(run(replace(sliced(config), min_skill_share=0.7))).to_pylist()
    assert rows[0]["reason"].startswith("mixed: 0.60 < 0.7") and rows[2]["keep"]


def test_clips_across_a_cut_are_left_out(config):
    for episode in range(3):
        write_values(
            annotations_folder(config.dataset),
            {"rows": [8], "probability": []},
            kind="cuts",
            annotator="by_hand",
            camera="front",
            episode=episode,
        )
    rows = pq.read_table(run(replace(config, cuts="by_hand"))).to_pylist()
    assert [row["reason"] for row in rows[:3]] == ["cut: another shot begins at row 8"] * 2 + [""]


def test_episodes_that_could_not_be_annotated_are_listed_with_their_reason(config):
    folder = annotations_folder(config.dataset) / "tracks_simulator"
    (folder / "front" / "episode_000001.npz").unlink()
    failed = Outcome(camera="front", episode=1, reason="ValueError: torn file")
    record_failure(folder / "failures.jsonl", failed)
    rows = pq.read_table(run(config)).to_pylist()
    assert [row["reason"] for row in rows if row["episode"] == 1] == (
        ["not annotated: ValueError: torn file"] * 3
    )
    assert rows[0]["keep"]


def test_scenes_can_be_told_by_their_looks(config):
    rows = pq.read_table(run(replace(config, scenes="looks"))).to_pylist()
    assert {row["scene"] for row in rows} == {"table #1"}


def write_flow(config, *, speed_px, disorder, turning):
    for episode in range(3):
        write_values(
            annotations_folder(config.dataset),
            {
                "speed_px": [speed_px] * 20,
                "disorder": [disorder] * 20,
                "turning": [turning] * 20,
                "camera_px": [0.0] * 20,
            },
            kind="motion",
            annotator="dis",
            camera="front",
            episode=episode,
        )


@pytest.mark.parametrize(
    ("speed_px", "disorder", "turning", "reason"),
    [
        (2.0, 0.2, 0.1, ""),
        (0.25, 0.2, 0.1, "still: flow of 2.0 px < 4 px"),
        (2.0, 0.9, 0.1, "disordered: flow leaves 0.90 > 0.7 of the change"),
        (2.0, 0.2, 0.7, "disordered: flow turns 0.70 > 0.4"),
    ],
)
def test_flow_tells_indistinct_from_disordered_motion(config, speed_px, disorder, turning, reason):
    write_flow(config, speed_px=speed_px, disorder=disorder, turning=turning)
    first = pq.read_table(run(replace(config, motion="dis"))).to_pylist()[0]
    assert (first["reason"], first["keep"]) == (reason, not reason)
    assert first["flow_px"] == pytest.approx(8 * speed_px)
    unasked = pq.read_table(run(config)).to_pylist()[0]
    assert unasked["keep"] and unasked["flow_px"] == 0


def panning(tmp_path):
    """Points on a grid that a camera pans over, 2 px a row; one of them does not take part."""
    start = np.stack(np.meshgrid(np.arange(4, 32, 4), np.arange(4, 32, 4)), -1).reshape(-1, 2)
    xy_px = start + 2.0 * np.arange(20)[:, None, None] * np.array([1, 0])
    xy_px[:, 24] = start[24]
    with DatasetWriter(tmp_path / "panning", SPEC) as writer:
        writer.add(episode(0, xy_px.astype(np.float32)))
    return IndexClips(dataset=tmp_path / "panning", length=5, stride=2, every=4)


def test_a_camera_that_pans_over_a_still_scene_is_no_motion(tmp_path):
    config = panning(tmp_path)
    repaired = pq.read_table(run(config)).to_pylist()[0]
    # Of 49 points 5 count: the one that stands out, and 4 of the background's.
    assert repaired["motion_px"] == pytest.approx(16 / 5, rel=0.05)
    assert repaired["reason"] == "still: 3.2 px < 4 px"
    assert repaired["camera_px"] == pytest.approx(16, rel=0.01)
    in_picture = pq.read_table(run(replace(config, camera_motion="keep"))).to_pylist()[0]
    assert in_picture["motion_px"] == pytest.approx(16, rel=0.01) and in_picture["keep"]
    limited = pq.read_table(run(replace(config, max_camera_px=10.0))).to_pylist()[0]
    assert limited["reason"] == "camera: it moves 16 px > 10 px"
