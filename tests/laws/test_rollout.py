"""Laws of imagining: seeds, temperature, batches, wrong input."""

import pytest
import torch

from roboscape.rollout.imagine import Imagination, imagine
from roboscape.rollout.sampling import Sampling

DRAWN = Sampling(temperature=1.0)


@pytest.fixture
def rollout(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)

    def roll(**settings):
        given = {"rgb": tokens[0, :, :1], "depth": tokens[1, :, :1], "controls": controls}
        frames = imagine(model, **(given | settings))
        return torch.stack([frame.rgb_codes for frame in frames], dim=1)

    roll.model, roll.tokens, roll.controls = model, tokens, controls
    return roll


def test_seeded_rollouts_reproduce_and_seeds_differ(rollout):
    first, again, other = (rollout(sampling=DRAWN, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_frame_and_every_world_has_draws_of_its_own(rollout):
    """Temperature so high that the logits no longer matter: only the draws are left."""
    frames = rollout(sampling=Sampling(temperature=1e9))
    for index in range(1, frames.shape[1]):
        assert not torch.equal(frames[:, index], frames[:, index - 1])
    assert not torch.equal(frames[0], frames[1])


def test_refinement_passes_have_draws_of_their_own(make_model, make_clip):
    model = make_model(branches="rgb", grid=(4, 8))
    tokens, controls = make_clip(model)
    once, twice = (
        next(
            imagine(
                model,
                rgb=tokens[0, :, :1],
                depth=None,
                controls=controls,
                sampling=Sampling(temperature=1e9, refinement_steps=steps),
            )
        ).rgb_codes
        for steps in (1, 2)
    )
    # Two passes draw the tokens that the first left hidden again: seven of ten.
    assert 0.1 < (once == twice).float().mean() < 0.6


def test_greedy_needs_no_seed(rollout):
    assert torch.equal(rollout(seed=0), rollout(seed=1))


def test_a_batch_of_two_is_two_batches_of_one(rollout):
    both = rollout()
    for index in range(2):
        alone = rollout(
            rgb=rollout.tokens[0, [index], :1],
            depth=rollout.tokens[1, [index], :1],
            controls=rollout.controls[[index]],
        )
        assert torch.equal(alone[0], both[index])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_stepping_by_hand_is_the_same(rollout, temperature):
    sampling = Sampling(temperature=temperature)
    imagination = Imagination(rollout.model, batch=2, sampling=sampling, seed=3)
    imagination.reset(
        rgb=rollout.tokens[0, :, :1],
        depth=rollout.tokens[1, :, :1],
        controls=rollout.controls[:, :1],
    )
    frames = [imagination.step(rollout.controls[:, t]).rgb_codes for t in range(1, 5)]
    assert torch.equal(torch.stack(frames, dim=1), rollout(sampling=sampling, seed=3))


def test_frames_come_one_by_one_without_gradients(rollout):
    rollout.model.requires_grad_(requires_grad=True)
    frames = imagine(
        rollout.model,
        rgb=rollout.tokens[0, :, :1],
        depth=rollout.tokens[1, :, :1],
        controls=rollout.controls,
    )
    frame = next(iter(frames))
    assert not frame.confidence.requires_grad
    assert frame.rgb_soft.vectors.abs().max() <= 1
    assert len(list(frames)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": None}, "depth"),
        ({"sampling": Sampling(temperature=-1.0)}, "temperature"),
        ({"sampling": Sampling(refinement_steps=0)}, "refinement_steps"),
        ({"rgb": torch.zeros(2, 0, 6, dtype=torch.int32)}, "at least one frame"),
        ({"controls": torch.zeros(2, 5, 4)}, "control"),
        ({"controls": torch.zeros(1, 5, 3)}, "rollouts|controls"),
    ],
)
def test_wrong_input_is_refused_at_the_call(rollout, change, message):
    if "rgb" in change:
        change = change | {"depth": change["rgb"]}
    # Under the shape checks a `TypeError` may come first.
    with pytest.raises((ValueError, TypeError), match=message):
        rollout(**change)
