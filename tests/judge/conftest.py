"""Observations of the scene with a cube, and a small judge that learnt it."""

import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from roboscape.judge.network import JudgeConfig, SuccessNetwork
from roboscape.judge.settings import JudgeRun
from roboscape.judge.train import run
from roboscape.simulators.protocol import Observation
from roboscape.training.learner import FitConfig
from tests.conftest import SPEC, make_episode

SIDE = 64


@pytest.fixture
def observe(lift_scene):
    """Cubes at some heights, a world each; a height of None: no cube."""

    def make(*heights, camera="front"):
        frames = []
        for height in heights:
            rgb, depth_m = lift_scene.render(
                height=0.05 if height is None else height,
                top=round(40 - 60 * ((height or 0.05) - 0.05)),
            )
            if height is None:
                rgb[20:55, 20:45] = 235
            frames.append((rgb, depth_m))
        return Observation(
            rgb={camera: np.stack([rgb for rgb, _ in frames])},
            depth_m={camera: np.stack([depth_m for _, depth_m in frames])},
            state=np.zeros((len(heights), 2), np.float32),
        )

    return make


@pytest.fixture(scope="session")
def validation(tmp_path_factory):
    """Four episodes: of the even ones, as of the odd ones, the second cube rises."""
    root = tmp_path_factory.mktemp("four")
    with DatasetWriter(root, SPEC) as writer:
        for number in range(4):
            writer.add(make_episode(800_000 + number, rises=number > 1))
    return LeRobotDataset(root)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, lift_train_dataset, validation):
    """A run on two recordings: it learns to see a cube that is high."""
    output = tmp_path_factory.mktemp("judge") / "run"
    config = JudgeRun(
        dataset=(lift_train_dataset.root,),
        validation=(validation.root,),
        output=output,
        stride=2,
        input_size=32,
        batch_size=16,
        fit=FitConfig(steps=60, log_every=30, evaluate_every=60, checkpoint_every=60),
    )
    return run(config), output / "judge"


@pytest.fixture
def untrained():
    """One that sees the object everywhere."""
    network = SuccessNetwork(
        JudgeConfig(camera="front", image_size=SIDE, input_size=32, width=8, task="lift")
    ).eval()
    network.head[-1].bias.data[1] = 100
    return network
