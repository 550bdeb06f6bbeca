"""Starts whose objects lie a little elsewhere: what is told, and what changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, unscaled
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.core.errors import UserError
from roboscape.policy_evaluation.evaluate import PolicyEval, run
from roboscape.policy_evaluation.nudging import check_reads_objects, nudged
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.world_model.model import WorldModel

OBJECTS = ("cube_x", "cube_y", "cube_z")
CAMERA, STRIDE = "front", 2


@pytest.fixture
def bundle(tiny_bundle, randomised):
    """Told where a cube is, by a reader of random weights."""
    model, convention = tiny_bundle.world_model.config, tiny_bundle.controls.convention
    arm = ProprioceptionConfig(
        convention=convention, state_names=("eef_x", "eef_y"), object_names=OBJECTS, width=8
    )
    reader = StateReaderConfig(
        state_names=OBJECTS, grid=model.frame_grid, code_bits=model.code_bits, width=8
    )
    controls = unscaled(
        convention, stride=STRIDE, state_size=2, proprioception=randomised(Proprioception(arm))
    )
    controls = ControlEncoder(controls.statistics, controls.proprioception)
    torch.manual_seed(0)
    return Bundle(
        tokenizer=tiny_bundle.tokenizer,
        world_model=randomised(WorldModel(replace(model, control_size=controls.size))),
        controls=controls,
        object_reader=StateReader(reader).eval(),
    )


@pytest.fixture
def simulator(bundle):
    return LearnedSimulator(bundle, cameras=(CAMERA,))


@pytest.fixture
def start(lift_dataset):
    return FrameStart(
        rgb={CAMERA: lift_dataset.frames(0, CAMERA, slice(0, 1))[0]},
        depth_m={CAMERA: lift_dataset.depth_m(0, CAMERA, slice(0, 1))[0]},
        state=lift_dataset.state(0)[0],
    )


def read(bundle, start):
    rgb = bundle.tokenizer.encode_rgb(torch.from_numpy(start.rgb[CAMERA])[None])
    depth = bundle.tokenizer.encode_depth(torch.from_numpy(start.depth_m[CAMERA])[None])
    return bundle.read_objects(rgb, depth)[0]


def test_objects_are_moved_along_the_table_around_where_they_are_seen(simulator, start):
    starts = dict.fromkeys(range(300), start)
    found = nudged(starts, simulator, number=1, by_m=0.005)
    away_m = np.stack([one.objects for one in found.values()]) - read(simulator.bundle, start)
    np.testing.assert_allclose(away_m[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(away_m[:, :2].std(axis=0), 0.005, rtol=0.15)
    np.testing.assert_allclose(away_m[:, :2].mean(axis=0), 0, atol=0.001)
    np.testing.assert_array_equal(found[0].rgb[CAMERA], start.rgb[CAMERA])


def test_a_repetition_moves_them_always_alike_and_each_one_elsewhere(simulator, start):
    one, again, other = (
        nudged({7: start, 8: start}, simulator, number=number, by_m=0.005) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(one[7].objects, again[7].objects)
    assert not np.allclose(one[7].objects, other[7].objects)
    assert not np.allclose(one[7].objects, one[8].objects)


def states_after(simulator, start, *, steps=3):
    simulator.reset([start])
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 1, STRIDE, 3)).astype(np.float32)
    return np.stack([simulator.step(one).state for one in actions])


def test_a_world_begins_with_the_objects_that_it_is_told(simulator, start):
    seen = states_after(simulator, start)
    told = replace(start, objects=read(simulator.bundle, start))
    np.testing.assert_array_equal(states_after(simulator, told), seen)
    elsewhere = replace(told, objects=told.objects + np.float32([0.5, 0, 0]))
    assert np.abs(states_after(simulator, elsewhere) - seen).max() > 1e-4


def test_one_world_is_told_and_the_other_sees(bundle, start):
    both = LearnedSimulator(bundle, batch=2, cameras=(CAMERA,))
    told = replace(start, objects=read(bundle, start) + np.float32([0.5, 0, 0]))
    both.reset([told, start])
    actions = np.zeros((2, STRIDE, 3), np.float32)
    states = both.step(actions).state
    alone = LearnedSimulator(bundle, cameras=(CAMERA,))
    for world, one in enumerate((told, start)):
        alone.reset([one])
        np.testing.assert_array_equal(states[world], alone.step(actions[:1]).state[0])


@pytest.mark.parametrize("objects", [np.zeros(2), np.full(3, np.nan)])
def test_objects_that_are_no_numbers_of_this_model_are_refused(simulator, start, objects):
    with pytest.raises(UserError, match="cube_x, cube_y, cube_z"):
        simulator.reset([replace(start, objects=objects)])


def test_a_bundle_that_is_not_told_of_objects_is_refused_before_anything_runs(
    tiny_bundle, tmp_path
):
    with pytest.raises(UserError, match="evaluate without --nudges"):
        check_reads_objects(tiny_bundle)
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    config = PolicyEval(policies=("one", "two"), output=tmp_path / "out", nudges=2)
    config = replace(config, world=replace(config.world, bundle=str(tmp_path / "bundle")))
    with pytest.raises(UserError, match="evaluate without --nudges"):
        run(config)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="nudges >= 0"):
        replace(config, nudges=-1)
