"""A dataset's camera geometry against what the true simulator renders."""

from pathlib import Path

import numpy as np
import pytest

from roboscape.collect.lift import CollectLift, lift_spec
from roboscape.collect.metaworld import CollectMetaworld, metaworld_spec
from roboscape.dataset.cameras import camera_pose, project, unproject
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import SeedStart

SIDE = 64
LIFT = CollectLift(
    output=Path("unused"), episodes=1, cameras=("agentview", "wrist", "frontview"), image_size=SIDE
)
METAWORLD = CollectMetaworld(
    output=Path("unused"),
    episodes=1,
    tasks=("door-open",),
    cameras=("corner2", "wrist"),
    image_size=SIDE,
)


@pytest.fixture(scope="module", params=["Lift", "metaworld/door-open"])
def seen(request):
    """The dataset's metadata, and some frames of an episode with the renderers' own poses."""
    config = LIFT if request.param == "Lift" else METAWORLD
    spec = lift_spec(LIFT) if config is LIFT else metaworld_spec(METAWORLD)
    simulator = MujocoSimulator(
        request.param, cameras=config.cameras, image_size=SIDE, supersampling=1, frame_hz=5.0
    )
    observation = simulator.reset([SeedStart(seed=4)])
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(4):
        shape = (1, simulator.spec.stride, len(simulator.spec.action.names))
        observation = simulator.step(generator.uniform(-1, 1, shape).astype(np.float32))
        (world,) = simulator.worlds
        poses = {name: one.camera_pose(world.scene.data) for name, one in world.renderers.items()}
        frames.append((observation, poses))
    simulator.close()
    return spec, frames


def test_the_recorded_state_alone_says_where_every_camera_is(seen):
    spec, frames = seen
    assert {camera.geometry.mount for camera in spec.cameras} == {"world", "hand"}
    for observation, poses in frames:
        for name, expected in poses.items():
            found = camera_pose(spec, name, observation.state[0])
            np.testing.assert_allclose(found.position_m, expected.position_m, atol=1e-5)
            np.testing.assert_allclose(found.camera_to_world, expected.camera_to_world, atol=1e-5)
            assert found.focal_px == pytest.approx(expected.focal_px, abs=1e-5)
            assert (found.height, found.width) == (SIDE, SIDE)
    # The camera on the hand did move.
    first, last = (camera_pose(spec, "wrist", frames[i][0].state[0]) for i in (0, -1))
    assert np.linalg.norm(first.position_m - last.position_m) > 0.01


@pytest.mark.parametrize("there", [0, 1])
def test_points_of_one_view_lie_where_the_other_view_sees_them(seen, there):
    spec, frames = seen
    names = [camera.name for camera in spec.cameras][:2]
    here, there = names[1 - there], names[there]
    agree, count = 0, 0
    for observation, _ in frames:
        depth_m = observation.depth_m[here][0]
        y_px, x_px = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
        pixels = np.stack([x_px, y_px, depth_m.reshape(-1)], axis=1).astype(np.float64)
        state = observation.state[0]
        points_m = unproject(pixels, camera_pose(spec, here, state))
        seen_at = project(points_m, camera_pose(spec, there, state))
        column, row = np.rint(seen_at[:, :2]).T
        inside = (column >= 0) & (column < SIDE) & (row >= 0) & (row < SIDE) & (seen_at[:, 2] > 0)
        other_m = observation.depth_m[there][0][row[inside].astype(int), column[inside].astype(int)]
        difference_m = other_m - seen_at[inside, 2]
        # What is nearer hides the point; a point that the other view looks through is wrong.
        agree += (np.abs(difference_m) < 0.02).sum()
        count += (difference_m > -0.02).sum()
    assert count > 200
    assert agree > 0.9 * count


def test_cameras_that_each_episode_places_anew_have_no_geometry():
    config = CollectLift(
        output=Path("unused"),
        episodes=1,
        cameras=("agentview", "wrist"),
        random_scenes="all",
        image_size=SIDE,
    )
    still, wrist = lift_spec(config).cameras
    assert still.geometry is None
    assert wrist.geometry is not None
