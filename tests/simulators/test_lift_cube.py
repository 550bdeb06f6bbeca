import numpy as np
import pytest

from roboscape.simulators.lift_cube import cube_patch, table_inverse_depth, watch_cube


def test_the_table_is_found_under_a_wall_and_a_cube(lift_scene):
    _, depth_m = lift_scene.render(height=0.05, top=40)
    assert table_inverse_depth(depth_m) == pytest.approx(lift_scene.table(), rel=1e-4)


def test_the_cubes_height_is_read_off_its_depth(lift_scene):
    heights = np.array([0.05, 0.05, 0.1, 0.2, 0.3])
    rgb, depth_m = lift_scene.video(heights)
    sighting = watch_cube(rgb, depth_m, table=table_inverse_depth(depth_m[0]))
    assert sighting.height == pytest.approx(heights, abs=1e-3)
    assert sighting.rose
    assert (np.diff(sighting.centre_px[:, 1]) <= 0).all()


def test_a_cube_that_slides_away_over_the_table_does_not_rise(lift_scene):
    frames = [lift_scene.render(height=0.05, top=top) for top in (50, 40, 30, 20)]
    rgb, depth_m = (np.stack(part) for part in zip(*frames, strict=True))
    sighting = watch_cube(rgb, depth_m, table=table_inverse_depth(depth_m[0]))
    assert sighting.centre_px[-1, 1] < sighting.centre_px[0, 1] - 25
    assert not sighting.rose


def test_a_cube_carried_towards_the_camera_rises_although_it_sinks_in_the_picture(lift_scene):
    frames = [lift_scene.render(height=0.05, top=25), lift_scene.render(height=0.3, top=45)]
    rgb, depth_m = (np.stack(part) for part in zip(*frames, strict=True))
    assert watch_cube(rgb, depth_m, table=table_inverse_depth(depth_m[0])).rose


def test_what_is_not_a_cube_is_not_seen(lift_scene):
    rgb, depth_m = lift_scene.render(height=0.05, top=40)
    rgb[40:50, 26:36] = 235
    assert cube_patch(rgb) is None
    rgb[3, 3] = (255, 0, 0)  # the gripper's lamp
    rgb[10:20, 10:20] = (200, 170, 165)  # skin-coloured, hardly red
    assert cube_patch(rgb) is None
    sighting = watch_cube(rgb[None], depth_m[None], table=lift_scene.table())
    assert not sighting.seen.any()
    assert not sighting.rose


def test_the_largest_red_patch_is_the_cube(lift_scene):
    rgb, _ = lift_scene.render(height=0.05, top=40)
    rgb[5:8, 5:8] = (150, 50, 58)
    patch = cube_patch(rgb)
    assert patch is not None
    assert patch.sum() == 100
    assert patch[45, 30]
    assert not patch[6, 6]


def test_a_scene_without_a_plane_is_refused():
    depth_m = np.random.default_rng(0).uniform(0.1, 5.0, (16, 16)).astype(np.float32)
    with pytest.raises(ValueError, match="expected a table in view"):
        table_inverse_depth(depth_m)
