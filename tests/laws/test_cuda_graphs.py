"""A pass that is captured once and replayed gives what running it each time gives."""

import pytest
import torch

from roboscape.rollout.cuda_graphs import CudaGraphPasses
from roboscape.rollout.imagine import Imagination
from roboscape.rollout.sampling import Sampling
from roboscape.world_model.cache import Cache

FRAMES = 23


def rerun(run):
    """Stands in for a CUDA graph: replaying reads and writes the captured pass's own memory."""
    features = run()

    def replay():
        for memory, new in zip(features, run(), strict=True):
            memory.copy_(new)

    return features, replay


def begun(model, tokens, controls, *, prompt, **settings):
    imagination = Imagination(model, batch=len(controls), **settings)
    imagination.reset(
        rgb=tokens[0, :, :prompt], depth=tokens[-1, :, :prompt], controls=controls[:, :prompt]
    )
    return imagination


def imagined(model, tokens, controls, *, prompt, **settings):
    imagination = begun(model, tokens, controls, prompt=prompt, **settings)
    return torch.stack([imagination.step(controls[:, t]).rgb_codes for t in range(prompt, FRAMES)])


@pytest.mark.parametrize("objective", ["next_frame", "masked"])
@pytest.mark.parametrize("refinement_steps", [1, 3])
@pytest.mark.parametrize("prompt", [1, 2, 16])
def test_replaying_equals_running(make_model, make_clip, objective, refinement_steps, prompt):
    model = make_model(objective=objective)
    tokens, controls = make_clip(model, frames=FRAMES)
    assert model.config.window < FRAMES - 16, "the ring buffer must have gone round"
    sampling = Sampling(refinement_steps=refinement_steps)
    plain, replayed = (
        imagined(model, tokens, controls, prompt=prompt, sampling=sampling, capture=capture)
        for capture in (None, rerun)
    )
    assert torch.equal(plain, replayed)


def test_learned_time_tables_can_be_captured_too(make_model, make_clip):
    model = make_model(time_position="learned", max_frames=FRAMES)
    tokens, controls = make_clip(model, frames=FRAMES)
    plain, replayed = (
        imagined(model, tokens, controls, prompt=1, capture=capture) for capture in (None, rerun)
    )
    assert torch.equal(plain, replayed)


def test_a_captured_pass_outlives_resets_and_restores_but_not_another_batch(make_model, make_clip):
    model = make_model()
    tokens, controls = make_clip(model, batch=3, frames=FRAMES)
    captures = []

    def counted(run):
        captures.append(run)
        return rerun(run)

    found = []
    for capture in (None, counted):
        imagination = begun(model, tokens, controls, prompt=1, capture=capture)
        frames = [imagination.step(controls[:, 1]).rgb_codes]
        snapshot = imagination.snapshot()
        frames += [imagination.step(controls[:, t]).rgb_codes for t in range(2, 7)]
        imagination.reset(
            rgb=tokens[0, [1], :3],
            depth=tokens[1, [1], :3],
            controls=controls[[1], :3],
            worlds=[1],
        )
        frames += [imagination.step(controls[:, t]).rgb_codes for t in range(7, 9)]
        imagination.restore(snapshot)
        frames += [imagination.step(controls[:, t]).rgb_codes for t in range(9, 11)]
        assert len(captures) == (capture is not None)
        imagination.restore(snapshot, index=[2, 0])
        frames += [imagination.step(controls[:2, t]).rgb_codes for t in range(2, 4)]
        found.append(torch.cat(frames))
    assert torch.equal(*found)
    assert len(captures) == 2, "another batch, another pass"


def test_a_cache_that_finds_slots_by_number_cannot_be_captured(make_model):
    model = make_model()
    with pytest.raises(ValueError, match="by_index"):
        CudaGraphPasses(model, Cache(model.config, batch=1), capture=rerun)


@pytest.mark.gpu
@pytest.mark.parametrize("prompt", [1, 2, 16])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cuda_graphs_equal_running(make_model, make_clip, prompt, temperature):
    model = make_model().to("cuda")
    tokens, controls = (x.to("cuda") for x in make_clip(model, frames=FRAMES))
    found = []
    for plain in (False, True):
        imagination = begun(
            model, tokens, controls, prompt=prompt, sampling=Sampling(temperature=temperature)
        )
        assert imagination.passes is not None
        if plain:
            imagination.passes = None
        found.append([imagination.step(controls[:, t]).rgb_codes for t in range(prompt, FRAMES)])
    assert torch.equal(torch.stack(found[0]), torch.stack(found[1]))
