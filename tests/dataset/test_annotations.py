from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roboscape.dataset.annotations import (
    Provenance,
    annotated_episodes,
    annotators,
    begin_annotation,
    read_depth,
    read_provenance,
    read_tracks,
    write_depth,
    write_tracks,
)
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.records import Episode

MakeEpisode = Callable[..., Episode]
DEPTH = Provenance(
    kind="depth",
    name="guess",
    version="1",
    settings={"size": (2, 3)},
    depth=DepthCodec(minimum_m=0.1, maximum_m=5.0),
    fps=20.0,
)
TRACKS = Provenance(kind="tracks", name="flow", version="2", settings={})


def test_tracks_come_back(tmp_path: Path, make_episode: MakeEpisode) -> None:
    tracks = make_episode(3).tracks["front"]
    begin_annotation(tmp_path, TRACKS)
    write_tracks(tmp_path, tracks, annotator="flow", camera="front", episode=7)
    read = read_tracks(tmp_path, annotator="flow", camera="front", episode=7)
    assert np.array_equal(read.xy_px, tracks.xy_px)
    assert np.array_equal(read.visible, tracks.visible)
    assert read.on_moving_body is not None
    assert np.array_equal(read.on_moving_body, tracks.on_moving_body)


def test_depth_comes_back(tmp_path: Path, make_episode: MakeEpisode) -> None:
    depth_m = make_episode(1).depth_m["front"]
    begin_annotation(tmp_path, DEPTH)
    write_depth(tmp_path, depth_m, annotator="guess", camera="front", episode=2)
    read_m = read_depth(tmp_path, annotator="guess", camera="front", episode=2)
    assert np.abs(read_m / depth_m - 1).max() < 6e-4
    some_m = read_depth(
        tmp_path, annotator="guess", camera="front", episode=2, rows=slice(1, 10, 4)
    )
    assert np.array_equal(some_m, read_m[1:10:4])


def test_finished_episodes_are_known(tmp_path: Path, make_episode: MakeEpisode) -> None:
    begin_annotation(tmp_path, TRACKS)
    for episode in (0, 12, 1_000_000):
        tracks = make_episode().tracks["front"]
        write_tracks(tmp_path, tracks, annotator="flow", camera="front", episode=episode)
    done = annotated_episodes(tmp_path, kind="tracks", annotator="flow", camera="front")
    assert done == {0, 12, 1_000_000}
    assert not annotated_episodes(tmp_path, kind="tracks", annotator="flow", camera="wrist")


def test_an_interrupted_write_does_not_count(
    tmp_path: Path, make_episode: MakeEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    tracks = make_episode().tracks["front"]
    with pytest.raises(KeyboardInterrupt):
        write_tracks(tmp_path, tracks, annotator="flow", camera="front", episode=0)
    assert not annotated_episodes(tmp_path, kind="tracks", annotator="flow", camera="front")
    assert list((tmp_path / "tracks_flow/front").iterdir()) == []


def test_provenance_is_kept_and_defended(tmp_path: Path) -> None:
    begin_annotation(tmp_path, DEPTH)
    begin_annotation(tmp_path, DEPTH)
    begin_annotation(tmp_path, TRACKS)
    assert read_provenance(tmp_path, kind="depth", annotator="guess").depth == DEPTH.depth
    assert [one.name for one in annotators(tmp_path)] == ["guess", "flow"]
    other = Provenance(kind="tracks", name="flow", version="3", settings={})
    with pytest.raises(
        ValueError, match=r"made differently \(version: was .*, now .*\); .*delete the folder"
    ):
        begin_annotation(tmp_path, other)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    begin_annotation(tmp_path, TRACKS)
    with pytest.raises(ValueError, match=r"no depth by 'guess' .*it holds: tracks by flow"):
        read_depth(tmp_path, annotator="guess", camera="front", episode=0)
    with pytest.raises(ValueError, match="not annotated yet"):
        read_tracks(tmp_path, annotator="flow", camera="front", episode=0)


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tracks_flow/front/episode_000000.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"episode_000000\.npz does not hold tracks.*delete"):
        read_tracks(tmp_path, annotator="flow", camera="front", episode=0)


def test_depth_needs_its_codec() -> None:
    with pytest.raises(ValueError, match="needs `depth`"):
        Provenance(kind="depth", name="guess", version="1", settings={})


def test_of_an_unknown_annotator_the_known_ones_are_named(tmp_path: Path) -> None:
    provenance = Provenance(kind="tracks", name="lucas_kanade", version="1", settings={})
    begin_annotation(tmp_path, provenance)
    for annotator, words in (("simulator", "--tracks lucas_kanade"), ("lucas_kanade", "not annot")):
        with pytest.raises(ValueError, match=words):
            read_tracks(tmp_path, annotator=annotator, camera="front", episode=0)
