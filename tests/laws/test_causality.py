"""What a logit may depend on: the past, its own control, the revealed part of its own frame."""

from dataclasses import replace

import pytest
import torch

from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import masked_inputs, next_frame_inputs

TIMESTEP = 2
"""The timestep under test; it predicts frame TIMESTEP + 1."""


def differs(before, after):
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


def logits_until(model, inputs, *, last=TIMESTEP):
    return [logits[:, : last + 1] for logits in model(inputs)]


@pytest.mark.parametrize("time_position", ["rotary", "learned"])
def test_later_frames_and_controls_never_change_earlier_logits(
    make_model, make_clip, time_position
):
    model = make_model(time_position=time_position)
    tokens, controls = make_clip(model)
    before = logits_until(model, next_frame_inputs(tokens, controls))
    tokens[:, :, TIMESTEP + 1 :] = 63 - tokens[:, :, TIMESTEP + 1 :]
    controls[:, TIMESTEP + 2 :] += 1
    after = logits_until(model, next_frame_inputs(tokens, controls))
    assert differs(before, after) == [False, False]


@pytest.mark.parametrize("what", ["first frame", "previous frame", "own control", "old control"])
def test_every_part_of_the_past_is_seen(make_model, make_clip, what):
    model = make_model()
    tokens, controls = make_clip(model)
    before = logits_until(model, next_frame_inputs(tokens, controls))
    match what:
        case "first frame":
            tokens[:, :, 0] = 63 - tokens[:, :, 0]
        case "previous frame":
            tokens[:, :, TIMESTEP] = 63 - tokens[:, :, TIMESTEP]
        case "own control":
            controls[:, TIMESTEP + 1] += 1
        case "old control":
            controls[:, 1] += 1
    after = logits_until(model, next_frame_inputs(tokens, controls))
    assert differs([x[:, TIMESTEP] for x in before], [x[:, TIMESTEP] for x in after]) == [
        True,
        True,
    ]


def test_the_first_control_is_ignored(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)
    before = model(next_frame_inputs(tokens, controls))
    controls[:, 0] += 1
    assert differs(before, model(next_frame_inputs(tokens, controls))) == [False, False]


def test_hidden_tokens_of_a_frame_do_not_leak(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)
    inputs = next_frame_inputs(tokens, controls)
    inputs = replace(inputs, masked=torch.rand(inputs.masked.shape) < 0.5)
    before = model(inputs)
    other = torch.where(inputs.masked, 63 - inputs.current, inputs.current)
    assert differs(before, model(replace(inputs, current=other))) == [False, False]
    seen = torch.where(inputs.masked, inputs.current, 63 - inputs.current)
    assert differs(before, model(replace(inputs, current=seen))) == [True, True]


def test_depth_never_looks_at_rgb_and_rgb_looks_at_depth(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)
    before = model(next_frame_inputs(tokens, controls))
    for changed, expected in ((RGB, [True, False]), (DEPTH, [True, True])):
        other = tokens.clone()
        other[changed] = 63 - other[changed]
        assert differs(before, model(next_frame_inputs(other, controls))) == expected


def test_without_injection_the_branches_are_strangers(make_model, make_clip):
    model = make_model(inject_depth=False)
    tokens, controls = make_clip(model)
    before = model(next_frame_inputs(tokens, controls))
    tokens[DEPTH] = 63 - tokens[DEPTH]
    assert differs(before, model(next_frame_inputs(tokens, controls))) == [False, True]


def test_a_new_model_starts_with_rgb_independent_of_depth(make_model, make_clip):
    model = make_model()
    fresh = WorldModel(model.config)
    for injection, new in zip(model.injections, fresh.injections, strict=True):
        injection.weight.copy_(new.weight)
    tokens, controls = make_clip(model)
    before = model(next_frame_inputs(tokens, controls))
    tokens[DEPTH] = 63 - tokens[DEPTH]
    assert differs(before, model(next_frame_inputs(tokens, controls))) == [False, True]


def test_plain_masked_rows_see_the_past_and_not_the_future(make_model, make_clip):
    model = make_model(objective="masked")
    tokens, controls = make_clip(model)
    inputs = masked_inputs(tokens, controls, generator=torch.Generator().manual_seed(0))
    inputs = replace(inputs, masked=torch.zeros_like(inputs.masked))
    before = logits_until(model, inputs)
    later, earlier = tokens.clone(), tokens.clone()
    later[:, :, TIMESTEP + 1 :] = 63 - later[:, :, TIMESTEP + 1 :]
    earlier[:, :, 0] = 63 - earlier[:, :, 0]
    assert differs(before, logits_until(model, replace(inputs, current=later))) == [False, False]
    assert differs(before, logits_until(model, replace(inputs, current=earlier))) == [True, True]


def test_a_batch_of_two_is_two_batches_of_one(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)
    together = model(next_frame_inputs(tokens, controls))
    for index in range(2):
        alone = model(next_frame_inputs(tokens[:, [index]], controls[[index]]))
        for one, both in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], both[index])


def test_a_row_knows_how_long_ago_things_were_and_not_the_date(make_model, make_clip):
    """With one block a timestep sees its window alone: the same wherever the window lies."""
    model = make_model(num_layers=1)
    tokens, controls = make_clip(model, frames=12)
    long = model(next_frame_inputs(tokens, controls))
    # The last timestep's window of four begins with the one that predicts frame 8 from frame 7.
    short = model(next_frame_inputs(tokens[:, :, 7:], controls[:, 7:]))
    for one, other in zip(long, short, strict=True):
        torch.testing.assert_close(one[:, -1], other[:, -1])
    swapped = tokens[:, :, [7, 9, 8, 10, 11]]
    assert differs(short, model(next_frame_inputs(swapped, controls[:, 7:]))) == [True, True]
