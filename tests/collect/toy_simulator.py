"""A simulator of noise, small enough to test what happens around simulators."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Tracks,
)

ROWS, SIZE = 3, 32
SPEC = DatasetSpec(
    fps=20.0,
    robot_type="toy",
    cameras=(CameraSpec(name="front", height=SIZE, width=SIZE, has_depth=True),),
    state_names=("x",),
    action=ActionConvention(
        mode="delta",
        names=("x", "gripper"),
        units=("m", "1"),
        scale=(0.05, 1.0),
        frame="robot_base",
        rotation="none",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    output: Path
    episodes: int
    seed: int = 0
    workers: int = 1
    flavour: str = "plain"
    deadly_seed: int = -1
    """The process simulating this seed is killed, as by a full memory."""
    failing_seed: int = -1
    interrupting_seed: int = -1
    """The collecting process gets a Ctrl-C while this seed is simulated."""


class ToySimulator:
    def __init__(self, config: ToyConfig) -> None:
        self._config = config

    def simulate(self, seed: int) -> Episode:
        if seed == self._config.deadly_seed:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == self._config.failing_seed:
            raise ArithmeticError("the cube fell through the table")
        if seed == self._config.interrupting_seed:
            os.kill(os.getppid(), signal.SIGINT)
            signal.pause()
        generator = np.random.default_rng(seed)
        return Episode(
            frames={"front": generator.integers(0, 255, (ROWS, SIZE, SIZE, 3), np.uint8)},
            depth_m={"front": generator.uniform(1, 2, (ROWS, SIZE, SIZE)).astype(np.float32)},
            actions=generator.uniform(-1, 1, (ROWS, 2)).astype(np.float32),
            state=generator.uniform(-1, 1, (ROWS, 1)).astype(np.float32),
            reward=np.zeros(ROWS, np.float32),
            task="wait",
            success=False,
            seed=seed,
            behaviour="random",
            tracks={
                "front": Tracks(
                    xy_px=np.ones((ROWS, 4, 2), np.float32),
                    visible=np.ones((ROWS, 4), bool),
                    on_moving_body=np.zeros(4, bool),
                )
            },
        )

    def close(self) -> None:
        pass
