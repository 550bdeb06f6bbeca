"""The plain form is the same mathematics: its logits, gradients, rollouts and FLOPs."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from roboscape.bench.flops import control_flops, forward_flops, frame_flops, training_flops
from roboscape.bench.models import random_model, random_prompt
from roboscape.bench.plain import PlainWorldModel
from roboscape.bench.plain_rollout import PlainImagination
from roboscape.rollout.imagine import Imagination
from roboscape.rollout.sampling import Sampling
from roboscape.tokenizer.codes import MISSING
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.objective import masked_inputs, next_frame_inputs, revealed_inputs

CONFIG = WorldModelConfig(
    control_size=5, num_layers=3, width=32, heads=4, code_bits=6, grid=(4, 6), max_frames=6
)
SHAPES = {
    "both": CONFIG,
    "rgb": replace(CONFIG, branches="rgb"),
    "patches": replace(CONFIG, patch=2, factors=3),
    "no injection": replace(CONFIG, inject_depth=False),
    "learned time": replace(CONFIG, time_position="learned"),
    "masked": replace(CONFIG, objective="masked"),
    "control field": replace(CONFIG, control_field=8, patch=2),
    "copying": replace(CONFIG, copy_previous=True, patch=2),
    "two views": replace(CONFIG, views=("front", "wrist"), patch=2, control_field=8),
}


def some_rows(config):
    generator = torch.Generator().manual_seed(2)
    shape = (config.modalities, 2, config.max_frames, config.tokens_per_frame)
    tokens = torch.randint(2**config.code_bits, shape, generator=generator).int()
    if config.cameras > 1:
        # One world lacks its second view at the start.
        tokens[:, 0, :2, config.tokens_per_view :] = MISSING
    controls = torch.randn(2, config.max_frames, config.control_size, generator=generator)
    if config.objective == "masked":
        return masked_inputs(tokens, controls, generator=generator)
    rows = next_frame_inputs(tokens, controls)
    return revealed_inputs(rows, fully_masked=0.5, generator=generator)


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_equal(name):
    config = SHAPES[name]
    model = random_model(config, device="cpu")
    rows = some_rows(config)
    plain = PlainWorldModel.of(model)
    for ours, theirs in zip(model(rows), plain(rows), strict=True):
        assert ours.std() > 0.1
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_equal(name):
    config = SHAPES[name]
    model = random_model(config, device="cpu").requires_grad_(requires_grad=True)
    plain = PlainWorldModel.of(model)
    for form in (model, plain):
        sum(logits.square().sum() for logits in form(some_rows(config))).backward()
    names = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    theirs = dict(plain.named_parameters())
    assert len(names) == len(theirs)
    for name, parameter in model.named_parameters():
        scale = parameter.grad.abs().max()
        difference = (parameter.grad - theirs[name].grad).abs().max()
        assert difference <= 1e-4 * scale, name


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_both_imagine_the_same_tokens(passes):
    model = random_model(replace(CONFIG, patch=2, factors=3), device="cpu")
    prompt, control = random_prompt(model.config, batch=2, device="cpu")
    fast = Imagination(model, batch=2, sampling=Sampling(refinement_steps=passes))
    fast.reset(rgb=prompt[0], depth=prompt[1], controls=control.unsqueeze(1))
    slow = PlainImagination(PlainWorldModel.of(model), prompt=prompt, refinement_steps=passes)
    for _ in range(CONFIG.max_frames - 1):
        frame, plain = fast.step(control), slow.step(control)
        assert torch.equal(frame.rgb_codes, plain[0])
        assert torch.equal(frame.depth_codes, plain[1])


@pytest.mark.parametrize("name", SHAPES)
def test_flops_are_what_torch_counts(name):
    config = SHAPES[name]
    model = random_model(config, device="cpu").requires_grad_(requires_grad=True)
    plain, rows = PlainWorldModel.of(model), some_rows(config)
    count = rows.controls.shape[1]
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        plain(rows)
    assert forward.get_total_flops() == forward_flops(config, rows=count, batch=2)
    with FlopCounterMode(display=False) as both:
        sum(logits.sum() for logits in plain(rows)).backward()
    assert both.get_total_flops() == training_flops(config, rows=count, batch=2)


def test_a_cached_frame_costs_about_its_share_of_the_window():
    window = CONFIG.window
    frame = frame_flops(CONFIG, passes=1)
    assert frame * window == pytest.approx(forward_flops(CONFIG, rows=window), rel=1e-9)
    assert frame_flops(CONFIG, passes=3, batch=2) == 6 * frame
    masked = replace(CONFIG, objective="masked")
    assert frame_flops(masked, passes=1) == 2 * forward_flops(masked, rows=1, visible_rows=6)
    assert control_flops(CONFIG) == 2 * 5 * 32
