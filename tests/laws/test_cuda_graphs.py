"""A pass that is recorded once and replayed gives what running it each time gives."""

import pytest
import torch

from roboscape.rollout.cuda_graphs import RecordedPasses
from roboscape.rollout.imagine import Imagination

FRAMES = 11


def rerun(run):
    """Stands in for a CUDA graph: replaying reads and writes the recording's own memory."""
    features = run()

    def replay():
        for memory, new in zip(features, run(), strict=True):
            memory.copy_(new)

    return features, replay


def imagined(model, tokens, controls, *, recorded, refinement_steps):
    imagination = Imagination(
        model,
        rgb=tokens[0, :, :2],
        depth=tokens[-1, :, :2],
        controls=controls[:, :2],
        refinement_steps=refinement_steps,
    )
    if recorded:
        imagination.cache.by_index = True
        imagination.recorded = RecordedPasses(model, imagination.cache, record=rerun)
    return torch.stack([imagination.step(controls[:, t]).rgb_codes for t in range(2, FRAMES)])


@pytest.mark.parametrize("objective", ["next_frame", "masked"])
@pytest.mark.parametrize("refinement_steps", [1, 3])
def test_replaying_equals_running(make_model, make_clip, objective, refinement_steps):
    model = make_model(objective=objective)
    tokens, controls = make_clip(model, frames=FRAMES)
    assert model.config.window < FRAMES, "the ring buffer must have gone round"
    plain, recorded = (
        imagined(model, tokens, controls, recorded=kind, refinement_steps=refinement_steps)
        for kind in (False, True)
    )
    assert torch.equal(plain, recorded)


def test_a_learned_time_table_cannot_be_recorded(make_model, make_clip):
    model = make_model(time_position="learned")
    tokens, controls = make_clip(model)
    imagination = Imagination(
        model, rgb=tokens[0, :, :1], depth=tokens[-1, :, :1], controls=controls[:, :1]
    )
    with pytest.raises(ValueError, match="rotary"):
        RecordedPasses(model, imagination.cache, record=rerun)


@pytest.mark.gpu
def test_cuda_graphs_equal_running(make_model, make_clip):
    model = make_model().to("cuda")
    tokens, controls = make_clip(model, frames=FRAMES)
    tokens, controls = tokens.to("cuda"), controls.to("cuda")
    imagination = Imagination(
        model, rgb=tokens[0, :, :1], depth=tokens[-1, :, :1], controls=controls[:, :1]
    )
    assert imagination.recorded is not None
    frames = [imagination.step(controls[:, t]).rgb_codes for t in range(1, FRAMES)]
    imagination = Imagination(
        model, rgb=tokens[0, :, :1], depth=tokens[-1, :, :1], controls=controls[:, :1]
    )
    imagination.recorded = None
    plain = [imagination.step(controls[:, t]).rgb_codes for t in range(1, FRAMES)]
    assert torch.equal(torch.stack(frames), torch.stack(plain))
