import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.planning.imagining import Imaginer
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from tests.planning.conftest import CAMERA, STRIDE

ACTIONS = np.random.default_rng(1).uniform(-1, 1, (3, 2, 3 * STRIDE, 3))


def test_a_candidates_future_is_the_simulators_own(imaginer, bundle, observed):
    """From the present frame, with the arm's speed read off the last two, frame after frame."""
    found = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3], reads="all")
    for world, candidate in ((0, 1), (2, 0)):
        alone = LearnedSimulator(bundle, batch=1, cameras=(CAMERA,))
        before, now = observed.state[world]
        alone.reset(
            [
                FrameStart(
                    rgb={CAMERA: observed.rgb[CAMERA][world, -1]},
                    depth_m={CAMERA: observed.depth_m[CAMERA][world, -1]},
                    state=now,
                    state_before=now - (now - before) / STRIDE,
                )
            ]
        )
        sequence = ACTIONS[world, candidate].reshape(3, 1, STRIDE, 3)
        seen = [alone.step(native) for native in sequence]
        place = 2 * world + candidate
        np.testing.assert_array_equal(found.tokens[:, place], alone.tokens[:, 0].numpy())
        np.testing.assert_allclose(
            found.states[place], [one.state[0] for one in seen], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(found.last.rgb[CAMERA][place], seen[-1].rgb[CAMERA][0])
        mean = np.mean([one.confidence[CAMERA].mean() for one in seen])
        assert found.confidence[place] == pytest.approx(mean, abs=1e-4)


def test_states_alone_are_those_of_imagined_frames(imaginer, observed):
    whole = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3])
    alone = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3], reads="states")
    np.testing.assert_allclose(alone.states, whole.states, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(alone.last.state, alone.states[:, -1])
    np.testing.assert_array_equal(alone.world, whole.world)
    assert alone.tokens is None and alone.confidence is None


def test_candidates_of_one_world_follow_each_other(imaginer, observed):
    found = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3])
    assert found.world.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(found.given.state, observed.state[:, -1])


def test_pixels_are_decoded_only_where_asked_for(imaginer, observed):
    assert imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3]).last.rgb == {}
    shown = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3], reads="rgb").last
    assert shown.rgb[CAMERA].shape == (6, 64, 64, 3)
    assert shown.depth_m == {}


def test_the_number_of_worlds_may_change_between_decisions(imaginer, observed, some):
    many = imaginer.imagine(observed, ACTIONS, seeds=[1, 2, 3])
    few = imaginer.imagine(some([2]), ACTIONS[2:], seeds=[3])
    np.testing.assert_array_equal(few.tokens, many.tokens[:, 4:])


def test_parts_of_frames_are_refused(imaginer, observed):
    with pytest.raises(UserError, match="whole frames of 2 native actions"):
        imaginer.imagine(observed, ACTIONS[:, :, :3], seeds=[1, 2, 3])


def test_a_bundle_that_does_not_say_where_the_arm_is_is_refused(tiny_bundle):
    with pytest.raises(UserError, match="no arm model"):
        Imaginer(LearnedSimulator(tiny_bundle, cameras=(CAMERA,)))
