import numpy as np
import pytest

from roboscape.dataset.cameras import project
from roboscape.sources.graphics import mujoco
from roboscape.sources.random_scenes import Workspace, randomise_look
from roboscape.sources.simulation import SceneRenderer

ROOM = """
<mujoco>
  <asset><material name="paint" rgba=".5 .5 .5 1"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="5 5 .1" group="1" material="paint"/>
    <camera name="fixed" pos="0 -2 1.5" xyaxes="1 0 0 0 .6 .8" fovy="45"/>
    <body name="ball" pos=".4 .3 .5">
      <freejoint/>
      <geom type="sphere" size=".1" group="1" rgba="1 0 0 1"/>
      <camera name="mounted" pos="0 0 .2"/>
    </body>
  </worldbody>
</mujoco>
"""
WORKSPACE = Workspace(centre_m=(0.1, 0.2, 0.3), front_deg=90.0)


@pytest.fixture
def room():
    model = mujoco.MjModel.from_xml_string(ROOM)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def look(room, seed):
    """The picture, depth and camera of a seed's look."""
    model, data = room
    randomise_look(model, data, workspace=WORKSPACE, cameras=("fixed",), seed=seed)
    renderer = SceneRenderer(model, camera="fixed", height=64, width=64)
    try:
        return *renderer.render(data), renderer.camera_pose(data)
    finally:
        renderer.close()


def test_a_look_depends_on_its_seed_and_on_nothing_before(room):
    fresh = mujoco.MjModel.from_xml_string(ROOM)
    data = mujoco.MjData(fresh)
    mujoco.mj_forward(fresh, data)
    first = look(room, 3)
    other = look(room, 4)
    for again in (look(room, 3), look((fresh, data), 3)):
        np.testing.assert_array_equal(again[0], first[0])
        np.testing.assert_array_equal(again[1], first[1])
    assert not np.array_equal(other[0], first[0])


@pytest.mark.parametrize("seed", range(8))
def test_cameras_see_the_workspace_right_way_up_and_not_from_behind_the_robot(room, seed):
    *_, camera = look(room, seed)
    centre_m = np.array(WORKSPACE.centre_m)
    ((x_px, y_px, depth_m),) = project(centre_m[None], camera)
    assert 8 < x_px < 56 and 8 < y_px < 56 and 0.3 < depth_m < 2.5
    above = project(centre_m[None] + [0, 0, 0.05], camera)
    assert above[0, 1] < y_px
    away = camera.position_m - centre_m
    assert away[1] / np.hypot(*away[:2]) > np.cos(np.deg2rad(140)), "the robot faces +y"


def test_physics_is_left_alone(room):
    model, data = room
    before = data.qpos.copy(), data.qacc.copy(), model.geom_pos.copy()
    look(room, 0)
    for one, other in zip(before, (data.qpos, data.qacc, model.geom_pos), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_camera_on_the_hand_is_refused(room):
    model, data = room
    with pytest.raises(ValueError, match="mounted on a moving body"):
        randomise_look(model, data, workspace=WORKSPACE, cameras=("mounted",), seed=0)
