"""Laws of a batch of imagined worlds: ages, resets, forks, snapshots.

Every world is checked against a rollout of its own, alone in a batch of one.
"""

import pytest
import torch

from roboscape.rollout.imagine import Imagination, imagine
from roboscape.rollout.sampling import Sampling
from roboscape.tokenizer.model import SoftCodes
from roboscape.world_model.config import RGB

FRAMES = 17
WARM = Sampling(temperature=1.0)
KINDS = [
    {},
    {"objective": "masked"},
    {"branches": "rgb"},
    {"time_position": "learned", "max_frames": FRAMES},
]
"""The window of the others is four or five rows, so that their ring buffer goes round."""


@pytest.fixture(params=KINDS, ids=["next_frame", "masked", "without depth", "learned times"])
def model(request, make_model):
    return make_model(**request.param)


@pytest.fixture
def clip(model, make_clip):
    return make_clip(model, batch=3, frames=FRAMES)


def prompt(tokens, controls, *, worlds, frames):
    """What `reset` takes, of some rows of a clip."""
    return {
        "rgb": tokens[RGB, worlds, :frames],
        "depth": tokens[-1, worlds, :frames],
        "controls": controls[worlds, :frames],
    }


def begun(model, tokens, controls, *, frames=1, sampling=None, **settings):
    imagination = Imagination(
        model, batch=len(controls), sampling=sampling or Sampling(), **settings
    )
    imagination.reset(**prompt(tokens, controls, worlds=slice(None), frames=frames))
    return imagination


def everything(frame):
    """All numbers of an imagined frame, one tensor a kind."""
    found = []
    for value in vars(frame).values():
        if isinstance(value, SoftCodes):
            found += [value.vectors, value.unchanged]
        elif value is not None:
            found.append(value)
    return found


def same_bits(one, other, *, worlds=slice(None), others=None):
    others = worlds if others is None else others
    return all(
        torch.equal(a[worlds], b[others])
        for a, b in zip(everything(one), everything(other), strict=True)
    )


def alone(model, tokens, controls, *, world, frames, refinement_steps):
    return list(
        imagine(
            model,
            rgb=tokens[RGB, [world], :frames],
            depth=tokens[-1, [world], :frames],
            controls=controls[[world]],
            sampling=Sampling(refinement_steps=refinement_steps),
        )
    )


@pytest.mark.parametrize("refinement_steps", [1, 3])
def test_a_batch_of_different_ages_is_the_same_rollouts_one_by_one(model, clip, refinement_steps):
    """Prompts of one, two and seven frames; the last begins anew on the way."""
    tokens, controls = clip
    lengths = [1, 2, 7]
    imagination = Imagination(model, batch=3, sampling=Sampling(refinement_steps=refinement_steps))
    for world, frames in enumerate(lengths):
        given = prompt(tokens, controls, worlds=[world], frames=frames)
        imagination.reset(**given, worlds=[world])
    expected = [
        alone(
            model,
            tokens,
            controls,
            world=world,
            frames=frames,
            refinement_steps=refinement_steps,
        )
        for world, frames in enumerate(lengths)
    ]
    times = list(lengths)
    for _ in range(FRAMES - max(lengths)):
        frame = imagination.step(controls[range(3), times])
        for world in range(3):
            one = expected[world][times[world] - lengths[world]]
            assert torch.equal(frame.rgb_codes[[world]], one.rgb_codes)
            torch.testing.assert_close(frame.confidence[[world]], one.confidence)
            torch.testing.assert_close(frame.rgb_soft.vectors[[world]], one.rgb_soft.vectors)
            if one.depth_codes is not None:
                assert torch.equal(frame.depth_codes[[world]], one.depth_codes)
        times = [time + 1 for time in times]
        if times[2] == 10:
            given = prompt(tokens, controls, worlds=[2], frames=lengths[2])
            imagination.reset(**given, worlds=[2])
            times[2] = lengths[2]
        if times[2] == 9:
            # A world takes its own age along when it is put back.
            imagination.restore(imagination.snapshot(), worlds=[1, 0], index=[1, 0])


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
@pytest.mark.parametrize("frames", [1, 3])
def test_resetting_one_world_leaves_the_others_bit_equal(model, clip, sampling, frames):
    tokens, controls = clip
    left, disturbed = (begun(model, tokens, controls, sampling=sampling) for _ in range(2))
    for time in range(1, 12):
        if time in (2, 8):
            given = prompt(tokens, controls, worlds=[1], frames=frames)
            disturbed.reset(**given, worlds=[1])
        one, other = left.step(controls[:, time]), disturbed.step(controls[:, time])
        assert same_bits(one, other, worlds=[0, 2])
        if time == 2:
            assert not same_bits(one, other, worlds=[1])


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
@pytest.mark.parametrize("age", [0, 1, 7])
def test_forks_with_equal_controls_have_equal_futures(model, clip, sampling, age):
    tokens, controls = clip
    imagination = begun(model, tokens, controls, sampling=sampling)
    never_left = begun(model, tokens, controls, sampling=sampling)
    for time in range(1, 1 + age):
        imagination.step(controls[:, time])
        never_left.step(controls[:, time])
    index = [2, 0, 0, 2]
    imagination.restore(imagination.snapshot(), index=index)
    assert imagination.batch == 4
    for time in range(1 + age, 7 + age):
        forked = imagination.step(controls[index, time])
        expected = never_left.step(controls[:, time])
        assert same_bits(forked, forked, worlds=[0, 1], others=[3, 2])
        assert torch.equal(forked.rgb_codes, expected.rgb_codes[index])
        torch.testing.assert_close(forked.rgb_soft.vectors, expected.rgb_soft.vectors[index])


def test_forks_with_other_controls_or_another_seed_part(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model, batch=1, frames=6)
    for change in ("controls", "seed", "nothing"):
        imagination = begun(model, tokens, controls, sampling=WARM)
        imagination.step(controls[:, 1])
        imagination.restore(imagination.snapshot(), index=[0, 0])
        if change == "seed":
            imagination.reseed(7, worlds=[1])
        control = controls[[0, 0], 2]
        if change == "controls":
            control[1] += 1
        frame = imagination.step(control)
        assert same_bits(frame, frame, worlds=[0], others=[1]) == (change == "nothing")


def test_a_seed_gives_every_fork_a_future_of_its_own(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model, batch=1, frames=6)
    imagination = begun(model, tokens, controls, sampling=WARM)
    imagination.restore(imagination.snapshot(), index=[0, 0, 0])
    imagination.reseed(7)
    codes = imagination.step(controls[[0, 0, 0], 1]).rgb_codes
    assert len({tuple(one.tolist()) for one in codes}) == 3


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
def test_restoring_a_snapshot_is_never_having_left(model, clip, sampling):
    tokens, controls = clip
    left, away = (begun(model, tokens, controls, sampling=sampling) for _ in range(2))
    for time in range(1, 4):
        left.step(controls[:, time])
        away.step(controls[:, time])
    snapshot = away.snapshot()
    away.reset(**prompt(tokens, controls, worlds=[0], frames=2), worlds=[0])
    for time in range(4, 9):
        away.step(-controls[:, time])
    away.reset(**prompt(tokens, controls, worlds=[1, 2], frames=2), worlds=[1, 2])
    for _ in range(2):
        away.restore(snapshot)
        ahead = left.snapshot()
        for time in range(4, 12):
            assert same_bits(left.step(controls[:, time]), away.step(controls[:, time]))
        for one in (left, away):
            one.reset(**prompt(tokens, controls, worlds=[1], frames=1), worlds=[1])
            one.restore(one.snapshot())
        assert same_bits(left.step(controls[:, 12]), away.step(controls[:, 12]))
        left.restore(ahead)


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
def test_one_world_is_put_back_while_the_others_go_on(model, clip, sampling):
    tokens, controls = clip
    plain, changed = (begun(model, tokens, controls, sampling=sampling) for _ in range(2))
    snapshot = changed.snapshot()
    first = None
    for time in range(1, 10):
        # Copies for both: matrix products round by the layout of what they read.
        control = controls[:, time].clone()
        one = plain.step(control.clone())
        first = first or one
        if time == 6:
            changed.restore(snapshot, worlds=[1], index=[2])
            control[1] = controls[2, 1]
        other = changed.step(control)
        assert same_bits(one, other, worlds=[0, 2])
        if time == 6:
            assert torch.equal(other.rgb_codes[1], first.rgb_codes[2])


def test_worlds_begin_one_after_the_other_and_a_step_needs_all(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model, batch=2)
    imagination = Imagination(model, batch=2)
    imagination.reset(**prompt(tokens, controls, worlds=[1], frames=1), worlds=[1])
    with pytest.raises(ValueError, match=r"never reset: \[0\]"):
        imagination.step(controls[:, 1])
    imagination.reset(**prompt(tokens, controls, worlds=[0], frames=1), worlds=[0])
    assert same_bits(
        imagination.step(controls[:, 1]), begun(model, tokens, controls).step(controls[:, 1])
    )
    with pytest.raises(ValueError, match="2 rollouts for 1 worlds"):
        imagination.reset(**prompt(tokens, controls, worlds=[0, 1], frames=1), worlds=[1])
    with pytest.raises(ValueError, match="2 worlds of a snapshot for 1 worlds"):
        imagination.restore(imagination.snapshot(), worlds=[0])
    with pytest.raises(ValueError, match=r"expected controls of shape \(2, 3\)"):
        imagination.step(controls[:1, 1])


def test_a_learned_time_table_ends_for_the_oldest_world(make_model, make_clip):
    model = make_model(time_position="learned")
    tokens, controls = make_clip(model, frames=6)
    imagination = begun(model, tokens, controls)
    for time in range(1, 4):
        imagination.step(controls[:, time])
    imagination.reset(**prompt(tokens, controls, worlds=[0], frames=1), worlds=[0])
    imagination.step(controls[:, 4])
    with pytest.raises(ValueError, match="rotary"):
        imagination.step(controls[:, 5])
