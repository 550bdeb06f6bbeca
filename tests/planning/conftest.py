from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import unscaled
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.planning.imagining import Imaginer
from roboscape.policies.protocol import PolicyInput
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.world_model.model import WorldModel

STRIDE, CAMERA = 2, "front"


@pytest.fixture
def bundle(tiny_bundle, randomised):
    """The tiny bundle with a random arm, whose states are the hand's x and y, told of a cube."""
    convention = tiny_bundle.controls.convention
    torch.manual_seed(0)
    names = ("eef_x", "eef_y")
    arm = Proprioception(
        ProprioceptionConfig(
            convention=convention, state_names=names, object_names=("cube_x",), width=8
        )
    )
    for parameter in arm.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    arm.eval().requires_grad_(requires_grad=False)
    controls = unscaled(convention, stride=STRIDE, state_size=2, proprioception=arm)
    config = replace(tiny_bundle.world_model.config, control_size=controls.size)
    return Bundle(
        tokenizer=tiny_bundle.tokenizer,
        world_model=randomised(WorldModel(config)),
        controls=controls,
        object_reader=StateReader(
            StateReaderConfig(
                state_names=("cube_x",), grid=config.frame_grid, code_bits=config.code_bits, width=8
            )
        ).eval(),
    )


@pytest.fixture
def simulator(bundle):
    return LearnedSimulator(bundle, batch=1, cameras=(CAMERA,))


@pytest.fixture
def imaginer(simulator):
    return Imaginer(simulator)


@pytest.fixture
def observed(lift_scene):
    """Three worlds: cubes of different heights, arms at different places and speeds."""
    frames = [lift_scene.render(height=height, top=40) for height in (0.05, 0.1, 0.2)]
    random = np.random.default_rng(0)
    return PolicyInput(
        rgb={CAMERA: np.stack([np.stack([rgb] * 2) for rgb, _ in frames])},
        depth_m={CAMERA: np.stack([np.stack([depth] * 2) for _, depth in frames])},
        state=random.normal(size=(3, 2, 2)).astype(np.float32),
    )


@pytest.fixture
def some(observed):
    """The same of some of the worlds."""

    def taken(worlds):
        return PolicyInput(
            rgb={CAMERA: observed.rgb[CAMERA][worlds]},
            depth_m={CAMERA: observed.depth_m[CAMERA][worlds]},
            state=observed.state[worlds],
        )

    return taken
