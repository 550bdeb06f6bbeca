import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roboscape.dataset.cameras import CameraPose, project, unproject
from roboscape.simulators.protocol import SeedStart
from roboscape.sources.graphics import mujoco
from roboscape.sources.simulation import (
    SceneRenderer,
    depth_to_metres,
    may_be_seen,
)

ROOM = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="5 5 .1" group="1" rgba=".5 .5 .5 1"/>
    <camera name="down" pos="0 0 2" fovy="60"/>
    <camera name="oblique" pos="0 -2 1.5" xyaxes="1 0 0 0 .6 .8" fovy="45"/>
    <body name="ball" pos=".4 .3 .5">
      <freejoint/>
      <geom type="sphere" size=".1" group="1" rgba="1 0 0 1"/>
      <geom type="box" size="1 1 .6" group="0" rgba="0 1 0 1"/>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def room():
    model = mujoco.MjModel.from_xml_string(ROOM)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(scope="module")
def renderers(room):
    made = {
        name: SceneRenderer(room[0], camera=name, height=96, width=128)
        for name in ("down", "oblique")
    }
    yield made
    for renderer in made.values():
        renderer.close()


def pixel_grid(height, width):
    y_px, x_px = np.mgrid[:height, :width]
    return np.stack([x_px.ravel(), y_px.ravel()], axis=1).astype(np.float64)


@pytest.mark.parametrize("camera", ["down", "oblique"])
def test_unprojected_depth_lies_on_the_floor_and_on_the_ball(room, renderers, camera):
    model, data = room
    renderer = renderers[camera]
    _, depth_m = renderer.render(data)
    bodies = renderer.render_bodies(data)
    pixels = np.column_stack([pixel_grid(96, 128), depth_m.ravel()])
    points_m = unproject(pixels, renderer.camera_pose(data))
    ball = bodies.ravel() == model.body("ball").id
    near = np.linalg.norm(points_m - data.body("ball").xpos, axis=1) < 2
    assert 30 < ball.sum() < 2000
    np.testing.assert_allclose(points_m[~ball & near, 2], 0, atol=2e-4)
    # The sphere is drawn as a polyhedron: its faces lie a little inside.
    radius_m = np.linalg.norm(points_m[ball] - data.body("ball").xpos, axis=1)
    np.testing.assert_allclose(radius_m, 0.1, atol=3e-3)


def test_image_is_the_right_way_up_and_hides_the_collision_geometry(room, renderers):
    _, data = room
    rgb, depth_m = renderers["down"].render(data)
    assert rgb.shape == (96, 128, 3) and depth_m.shape == (96, 128)
    red = (rgb[..., 0] > 2 * rgb[..., 1].astype(int)) & (rgb[..., 0] > 60)
    y_px, x_px = np.argwhere(red).mean(axis=0)
    expected = project(data.body("ball").xpos[None], renderers["down"].camera_pose(data))[0]
    # The ball is right of and above the middle, and nearer than the floor.
    assert expected[0] > 64 and expected[1] < 48
    np.testing.assert_allclose([x_px, y_px], expected[:2], atol=1.0)
    assert not (rgb[..., 1] > 2 * rgb[..., 0].astype(int)).any()


def test_the_depth_image_and_the_colour_image_are_one_pass(room, renderers):
    _, data = room
    rgb, depth_m = renderers["oblique"].render(data)
    rgb_again, depth_again_m = renderers["oblique"].render(data)
    np.testing.assert_array_equal(rgb, rgb_again)
    np.testing.assert_array_equal(depth_m, depth_again_m)
    assert depth_m.dtype == np.float32


@given(st.floats(0.01, 1.0), st.floats(2.0, 500.0), st.floats(0.0, 1.0))
def test_depth_buffer_conversion_inverts_the_projection(near_m, far_m, share):
    distance_m = near_m + share * (far_m - near_m)
    buffer = near_m * (far_m - distance_m) / (distance_m * (far_m - near_m))
    found = depth_to_metres(np.full((1, 1), buffer), near_m=near_m, far_m=far_m)
    np.testing.assert_allclose(found, distance_m, rtol=1e-6)


@given(st.floats(-100, 200), st.floats(-100, 200), st.floats(0.05, 50))
def test_project_inverts_unproject(x_px, y_px, depth_m):
    rotation = np.array([[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, 0.6]])
    camera = CameraPose(
        position_m=np.array([0.5, -1.0, 2.0]),
        camera_to_world=rotation,
        focal_px=150.0,
        height=96,
        width=128,
    )
    pixels = np.array([[x_px, y_px, depth_m]])
    np.testing.assert_allclose(project(unproject(pixels, camera), camera), pixels, atol=1e-6)


CAMERA = CameraPose(
    position_m=np.zeros(3), camera_to_world=np.eye(3), focal_px=100.0, height=80, width=120
)


@given(
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(0.01, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_what_is_not_drawn_is_out_of_view(x_m, y_m, z_m, radius_m, azimuth, height):
    """No point of a sphere that is left out lands in the image."""
    centre_m = np.array([[x_m, y_m, z_m]])
    ring = np.sqrt(1 - height**2)
    direction = np.array([np.cos(np.pi * azimuth) * ring, np.sin(np.pi * azimuth) * ring, height])
    point_m = centre_m + 0.999 * radius_m * direction
    assume(abs(point_m[0, 2]) > 1e-6)
    x_px, y_px, depth_m = project(point_m, CAMERA)[0]
    lands = depth_m > 0 and -0.5 <= x_px <= 119.5 and -0.5 <= y_px <= 79.5
    assert may_be_seen(centre_m, np.array([radius_m]), CAMERA)[0] or not lands


def test_things_beside_and_behind_are_left_out_and_planes_never():
    centres_m = np.array([[0, 0, -2], [3, 0, -2], [0, 3, -2], [0, 0, 2], [0, 0, 2]], np.float64)
    radii_m = np.array([0.1, 0.1, 0.1, 0.1, 0.0])
    seen = may_be_seen(centres_m, radii_m, CAMERA)
    assert seen.tolist() == [True, False, False, False, True]


def test_leaving_out_changes_no_pixel(lift, monkeypatch):
    lift.simulator.reset([SeedStart(seed=3)])
    (world,) = lift.simulator.worlds
    renderer, data = world.renderers["agentview"], world.scene.data
    quick = renderer.render(data)
    bodies = renderer.render_bodies(data)
    monkeypatch.setattr(
        "roboscape.sources.simulation.may_be_seen", lambda _, radii_m, __: radii_m > -1
    )
    np.testing.assert_array_equal(renderer.render(data)[0], quick[0])
    np.testing.assert_array_equal(renderer.render(data)[1], quick[1])
    np.testing.assert_array_equal(renderer.render_bodies(data), bodies)


def test_unknown_camera_is_refused_with_the_known_ones(room):
    with pytest.raises(ValueError, match="no camera 'up'; it has down, oblique"):
        SceneRenderer(room[0], camera="up", height=8, width=8)


@pytest.fixture(scope="module")
def fine_and_coarse(room):
    """One camera, three times as large and drawn once, and drawn three times as large."""
    fine = SceneRenderer(room[0], camera="oblique", height=72, width=96)
    coarse = SceneRenderer(room[0], camera="oblique", height=24, width=32, supersampling=3)
    yield fine, coarse
    fine.close()
    coarse.close()


def test_a_supersampled_pixel_is_the_mean_of_its_square(room, fine_and_coarse):
    fine, coarse = (renderer.render(room[1])[0] for renderer in fine_and_coarse)
    squares = fine.reshape(24, 3, 32, 3, 3).mean(axis=(1, 3))
    assert coarse.shape == (24, 32, 3) and coarse.dtype == np.uint8
    assert np.abs(coarse - squares).max() <= 0.5 + 1e-6
    assert (np.ptp(fine.reshape(24, 3, 32, 3, 3), axis=(1, 3)) > 60).any()


def test_supersampled_depth_and_bodies_are_one_sample_and_never_a_mean(room, fine_and_coarse):
    fine, coarse = fine_and_coarse
    depth_m, bodies = fine.render(room[1])[1], fine.render_bodies(room[1])
    np.testing.assert_array_equal(coarse.render(room[1])[1], depth_m[1::3, 1::3])
    np.testing.assert_array_equal(coarse.render_bodies(room[1]), bodies[1::3, 1::3])
    means = depth_m.reshape(24, 3, 32, 3).mean(axis=(1, 3))
    assert np.abs(depth_m[1::3, 1::3] - means).max() > 0.1


def test_the_pose_of_a_supersampled_camera_is_that_of_the_stored_image(room, fine_and_coarse):
    _, coarse = fine_and_coarse
    plain = SceneRenderer(room[0], camera="oblique", height=24, width=32)
    poses = [renderer.camera_pose(room[1]) for renderer in (plain, coarse)]
    plain.close()
    assert (poses[1].height, poses[1].width) == (24, 32)
    assert poses[1].focal_px == poses[0].focal_px
