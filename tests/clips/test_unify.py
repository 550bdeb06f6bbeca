from dataclasses import replace

import numpy as np
import pytest

from roboscape.clips.unify import CAMERA, Unify, run, view_of
from roboscape.core.files import read_json
from roboscape.dataset.common_actions import COMMON_ACTION, common_actions
from roboscape.dataset.records import Tracks


@pytest.fixture
def unified(lift_dataset, tmp_path):
    return run(Unify(dataset=lift_dataset.root, output=tmp_path / "one", stride=4, hold_out=(1,)))


def test_every_fourth_row_is_kept_with_the_motion_between(unified, lift_dataset):
    (camera,) = lift_dataset.spec.cameras
    assert unified.num_episodes == lift_dataset.num_episodes
    assert unified.spec.action == COMMON_ACTION
    assert unified.spec.state_names == ()
    expected = common_actions(
        lift_dataset.actions(2), convention=lift_dataset.spec.action, stride=4
    )
    np.testing.assert_allclose(unified.actions(2), expected, atol=1e-6)
    shown = unified.frames(2, CAMERA).astype(int)
    recorded = lift_dataset.frames(2, camera.name)[::4]
    assert np.abs(shown - recorded).mean() < 4, "encoded twice"
    np.testing.assert_allclose(
        unified.depth_m(2, CAMERA), lift_dataset.depth_m(2, camera.name)[::4], rtol=2e-3
    )
    assert read_json(unified.root / "unify.json")["frame_hz"] == lift_dataset.spec.fps / 4


def test_episodes_that_are_held_out_are_for_validation_and_the_others_keep_their_split(unified):
    splits = [unified.episode_info(number).split for number in range(unified.num_episodes)]
    assert splits == ["test", "validation", "test"]


def test_a_simulators_tracks_are_kept(lift_dataset):
    (camera,) = lift_dataset.spec.cameras
    generator = np.random.default_rng(0)
    tracks = Tracks(
        xy_px=generator.uniform(0, 30, (17, 5, 2)), visible=generator.random((17, 5)) < 0.5
    )
    episode = replace(lift_dataset.episode(0), tracks={camera.name: tracks})
    found = view_of(episode, camera.name, dataset=lift_dataset, stride=4).tracks[CAMERA]
    np.testing.assert_array_equal(found.xy_px, tracks.xy_px[[0, 4, 8, 12, 16]])
    np.testing.assert_array_equal(found.visible, tracks.visible[[0, 4, 8, 12, 16]])


def test_what_is_not_there_is_refused(lift_dataset, tmp_path):
    with pytest.raises(ValueError, match="has no camera"):
        run(Unify(dataset=lift_dataset.root, output=tmp_path / "a", cameras=("rear",)))
    with pytest.raises(ValueError, match="hold-out names episodes"):
        run(Unify(dataset=lift_dataset.root, output=tmp_path / "a", hold_out=(3,)))
    assert not list(tmp_path.iterdir())
