"""A simulator without physics: a world shows its seed and its age, and is solved at that age."""

from dataclasses import replace

import numpy as np

from roboscape.dataset.records import ActionConvention, CameraSpec
from roboscape.simulators.protocol import Observation, Snapshot, WorldSpec

STRIDE, HEIGHT, WIDTH = 3, 36, 40
SPEC = WorldSpec(
    cameras=(CameraSpec(name="front", height=HEIGHT, width=WIDTH, has_depth=True),),
    frame_hz=5.0,
    stride=STRIDE,
    action=ActionConvention(
        mode="delta",
        names=("x", "gripper"),
        units=("m", "1"),
        scale=(0.05, 1.0),
        frame="robot_base",
        rotation="none",
        gripper="-1 opens, +1 closes",
        action_hz=15.0,
    ),
    state_names=("seed", "age"),
    task="count",
)


class CountingSimulator:
    """Its state is the seed and the number of frames since the reset."""

    def __init__(self, batch, *, cameras=("front",)):
        (camera,) = SPEC.cameras
        self.spec = replace(SPEC, cameras=tuple(replace(camera, name=name) for name in cameras))
        self.batch = batch
        self._state = np.zeros((batch, 2))
        self.taken = None

    def reset(self, starts, *, where=None):
        where = np.ones(self.batch, bool) if where is None else where
        self._state[where] = [(start.seed, 0) for start in starts]
        return self._look()

    def step(self, actions):
        self.taken = actions
        self._state[:, 1] += 1
        return self._look()

    def snapshot(self):
        return Snapshot(self._state.copy(), self.batch)

    def restore(self, snapshot, *, where=None, index=None):
        raise NotImplementedError

    def close(self):
        pass

    def _look(self):
        names = [camera.name for camera in self.spec.cameras]
        rgb = np.zeros((self.batch, HEIGHT, WIDTH, 3), np.uint8)
        rgb += self._state[:, 1].astype(np.uint8)[:, None, None, None]
        return Observation(
            rgb={name: rgb.copy() for name in names},
            depth_m={name: np.ones((self.batch, HEIGHT, WIDTH), np.float32) for name in names},
            state=self._state.astype(np.float32),
            success=self._state[:, 1] == self._state[:, 0],
        )
