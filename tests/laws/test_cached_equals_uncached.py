"""The cache changes the cost of a rollout and nothing else.

The oracle recomputes everything at every pass: all rows since the prompt, no cache, attention
limited to the window by a banded mask.
"""

import pytest
import torch

from roboscape.rollout.imagine import imagine
from roboscape.rollout.sampling import Sampling, choose, hidden_after, hide_least_confident
from roboscape.world_model.config import RGB
from roboscape.world_model.model import ModelInputs


def oracle(model, tokens, controls, *, prompt, refinement_steps=1):
    """Greedy frames and the logits of their first pass, by full recomputation."""
    config = model.config
    masked = config.objective == "masked"
    history = tokens[:, :, :prompt]
    first_logits = []
    for frame in range(prompt, controls.shape[1]):
        known = torch.zeros_like(history[:, :, -1])
        hidden = torch.ones_like(known, dtype=torch.bool)
        chosen = None
        for step in range(refinement_steps):
            rows = oracle_rows(history, known, hidden, controls[:, : frame + 1], masked=masked)
            logits = torch.stack(model(rows))[:, :, -1]
            new = [
                choose(x, given=given, code_bits=config.code_bits, temperature=0.0)
                for x, given in zip(logits, tokens[:, :, prompt - 1], strict=True)
            ]
            if chosen is None:
                chosen = new
                first_logits.append(logits)
            else:
                chosen = [n.where(h, c) for n, h, c in zip(new, hidden, chosen, strict=True)]
            count = hidden_after(step, steps=refinement_steps, tokens=known.shape[-1])
            hidden = torch.stack(
                [
                    hide_least_confident(c.confidence, hidden=h, count=count)
                    for c, h in zip(chosen, hidden, strict=True)
                ]
            )
            known = torch.stack([c.codes for c in chosen])
        history = torch.cat([history, known.unsqueeze(2)], dim=2)
    return history[:, :, prompt:], torch.stack(first_logits, dim=2)


def oracle_rows(history, known, hidden, controls, *, masked):
    """All rows so far: past ones as they were when predicted, the newest with what is known."""
    current = torch.cat([history, known.unsqueeze(2)], dim=2)
    newest = torch.zeros_like(current, dtype=torch.bool)
    newest[:, :, -1] = hidden
    if masked:
        controls = controls.clone()
        controls[:, 0] = 0
        return ModelInputs(previous=None, current=current, masked=newest, controls=controls)
    past = torch.ones_like(newest[:, :, 1:])
    past[:, :, -1] = hidden
    return ModelInputs(
        previous=history, current=current[:, :, 1:], masked=past, controls=controls[:, 1:]
    )


def cached(model, tokens, controls, *, prompt, **settings):
    depth = tokens[1, :, :prompt] if len(tokens) > 1 else None
    return list(
        imagine(
            model,
            rgb=tokens[RGB, :, :prompt],
            depth=depth,
            controls=controls,
            sampling=Sampling(**settings),
        )
    )


def codes(frames):
    kinds = [[f.rgb_codes for f in frames], [f.depth_codes for f in frames]]
    return torch.stack([torch.stack(kind, dim=1) for kind in kinds if kind[0] is not None])


@pytest.mark.parametrize("objective", ["next_frame", "masked"])
@pytest.mark.parametrize("prompt", [1, 2, 4])
@pytest.mark.parametrize("refinement_steps", [1, 3])
def test_same_tokens_within_the_window(make_model, make_clip, objective, prompt, refinement_steps):
    model = make_model(objective=objective)
    tokens, controls = make_clip(model)
    frames = cached(model, tokens, controls, prompt=prompt, refinement_steps=refinement_steps)
    expected, _ = oracle(model, tokens, controls, prompt=prompt, refinement_steps=refinement_steps)
    assert torch.equal(codes(frames), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"branches": "rgb"},
        {"time_position": "learned"},
        {"copy_previous": True},
        {"control_field": 6},
        {},
    ],
)
def test_same_distributions_in_every_shape_of_model(make_model, make_clip, settings):
    model = make_model(**settings)
    tokens, controls = make_clip(model)
    frames = cached(model, tokens, controls, prompt=1)
    expected, logits = oracle(model, tokens, controls, prompt=1)
    assert torch.equal(codes(frames), expected)
    for index, frame in enumerate(frames):
        given = tokens[RGB, :, 0]
        choice = choose(logits[RGB, :, index], given=given, code_bits=6, temperature=0.0)
        torch.testing.assert_close(frame.rgb_soft.unchanged, choice.soft.unchanged)
        torch.testing.assert_close(frame.confidence, choice.confidence)
        torch.testing.assert_close(frame.rgb_soft.vectors, choice.soft.vectors)


@pytest.mark.parametrize("objective", ["next_frame", "masked"])
@pytest.mark.parametrize("prompt", [1, 7])
def test_the_sliding_ring_buffer_equals_windowed_recomputation(
    make_model, make_clip, objective, prompt
):
    """Nineteen frames through a window of five; a prompt longer than the window too."""
    model = make_model(objective=objective)
    tokens, controls = make_clip(model, frames=19)
    frames = cached(model, tokens, controls, prompt=prompt, refinement_steps=2)
    expected, _ = oracle(model, tokens, controls, prompt=prompt, refinement_steps=2)
    assert torch.equal(codes(frames), expected)


def test_refinement_changes_the_tokens(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model)
    one, three = (
        codes(cached(model, tokens, controls, prompt=1, refinement_steps=steps)) for steps in (1, 3)
    )
    assert not torch.equal(one, three)


def test_a_learned_time_table_has_an_end(make_model, make_clip):
    model = make_model(time_position="learned")
    tokens, controls = make_clip(model, frames=6)
    with pytest.raises(ValueError, match="rotary"):
        cached(model, tokens, controls, prompt=1)
