"""Late clips have as many points as early ones, each its own from the first frame to the last."""

import numpy as np

from roboscape.annotate.tracks.protocol import LucasKanade
from roboscape.dataset.records import Tracks
from roboscape.tokens.encode import track_columns

ROWS = 200


def tracks_of_a_tracker_that_loses(*, every, points=60, seed=0):
    """A grid sampled `every` so many rows; a point is lost after 40 rows on average."""
    random = np.random.default_rng(seed)
    first = np.repeat(np.arange(0, ROWS, every), points)
    last = np.minimum(first + 1 + random.exponential(40, len(first)).astype(int), first + 90)
    row = np.arange(ROWS)[:, None]
    visible = (row >= first) & (row < last)
    speed = random.uniform(-0.5, 0.5, (len(first), 2))
    xy_px = 100 + np.where(visible[..., None], (row - first)[..., None] * speed, 0.0)
    return Tracks(xy_px=xy_px.astype(np.float32), visible=visible)


def clip_of(columns, start):
    """Places and visibility of a clip, as the store reads them."""
    held = columns["visible"][start : start + 61 : 4]
    return columns["tracks"][start : start + 61 : 4], (held != 0) & (held == held[0])


def test_late_clips_have_as_many_points_as_early_ones():
    once, again = (
        track_columns(tracks_of_a_tracker_that_loses(every=every), ROWS, points=60, cell_px=8)
        for every in (ROWS, 30)
    )
    alive = {
        name: [clip_of(columns, start)[1].mean(axis=1).sum() for start in (0, 130)]
        for name, columns in (("once", once), ("again", again))
    }
    assert alive["once"][1] < 0.2 * alive["once"][0]
    assert alive["again"][1] > 0.7 * alive["again"][0]


def test_a_clip_never_takes_one_track_for_another():
    tracks = tracks_of_a_tracker_that_loses(every=30)
    columns = track_columns(tracks, ROWS, points=60, cell_px=8)
    taken = 0
    for start in range(0, ROWS - 61, 7):
        xy, visible = clip_of(columns, start)
        true = np.float16((tracks.xy_px[start : start + 61 : 4] + 0.5) / 8)
        for place in np.flatnonzero(visible[0]):
            seen = visible[:, place]
            same = (true[seen] == xy[seen, place, None]).all(axis=(0, 2))
            assert (same & tracks.visible[start]).any()
            taken += 1
    assert taken > 100


def test_tracks_that_all_begin_at_once_are_kept_whole():
    tracks = tracks_of_a_tracker_that_loses(every=ROWS)
    columns = track_columns(tracks, ROWS, points=60, cell_px=8)
    assert np.array_equal(columns["visible"] == 1, tracks.visible)


def test_lucas_kanade_samples_anew_and_follows_for_a_while():
    texture = np.random.default_rng(0).integers(255, size=(48, 64, 3), dtype=np.uint8)
    frames = np.repeat(texture[None], 50, axis=0)
    frames[10:, :, :32] = 0  # what was there is lost
    frames[20:, :, :32] = texture[:, 32:]
    annotator = LucasKanade(points_per_side=4, sample_every=20, follow_rows=25)
    tracks = annotator.annotate(frames)
    assert tracks.visible.shape == (50, 3 * 16)
    first, second, third = np.split(tracks.visible, 3, axis=1)
    assert first[0].all()
    assert 0 < first[12:25].sum(axis=1).max() <= 8
    assert not first[25:].any()
    assert not second[:20].any()
    assert second[20:45].all()
    assert third[40:].all()
