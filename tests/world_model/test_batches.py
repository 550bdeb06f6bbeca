"""However a step is cut into microbatches, every clip is the same and the losses add up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.presets.world_model import debug
from roboscape.training.learner import Learner
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import ONE_RANK, Execution
from roboscape.world_model import train
from roboscape.world_model.batches import moved, self_predict, tokens_of
from roboscape.world_model.objective import MaskingConfig, self_predicted_inputs


@pytest.fixture
def config(token_store, tmp_path):
    """Six clips a step in draws of two; half of the draws self-predict."""
    preset = debug()
    return replace(
        preset,
        tokens=token_store.root,
        output=tmp_path,
        device="cpu",
        precision="fp32",
        batch_size=6,
        draw_size=2,
        model=replace(preset.model, max_frames=6, width=16),
        masking=MaskingConfig(
            self_predicted=0.5, self_predicted_after=0, self_predicted_passes=3, corruption=0.5
        ),
    )


def random_model(config, store):
    model = train.make_model(config, store=store)
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def microbatches(config, store, model, *, step, accumulate=1):
    config = replace(config, accumulate=accumulate)
    return train.make_batches(model, store, config=config, ranks=ONE_RANK)(step)


def batch_maker(config, store, model):
    return train.make_batches(model, store, config=config, ranks=ONE_RANK).__self__


def disagreeing_step(config, store, model):
    """A step of which some draws predict their own pasts and others do not."""
    steps = ((n, microbatches(config, store, model, step=n)[0].content) for n in range(20))
    return next(n for n, batch in steps if 0 < len(batch.self_predicted) < 3)


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_every_clip_is_the_same_in_any_microbatch(config, token_store, accumulate):
    model = random_model(config, token_store)
    step = disagreeing_step(config, token_store, model)
    (whole,) = microbatches(config, token_store, model, step=step)
    parts = microbatches(config, token_store, model, step=step, accumulate=accumulate)
    one, *several = (
        self_predict(model, part.content, corruption=0.5).inputs for part in (whole, *parts)
    )
    for name in ("previous", "current", "masked"):
        joined = torch.cat([getattr(inputs, name) for inputs in several], dim=1)
        assert torch.equal(joined, getattr(one, name)), name
    assert torch.equal(torch.cat([inputs.controls for inputs in several]), one.controls)
    assert not torch.equal(one.previous, whole.content.targets.inputs.previous)
    assert whole.counts.keys() == {"rgb", "depth", "keypoint", "attention"}
    for name, count in whole.counts.items():
        assert sum(part.counts[name] for part in parts) == count > 0


@pytest.mark.parametrize("objective", ["next_frame", "masked"])
def test_accumulated_gradients_are_those_of_the_whole_batch(config, token_store, objective):
    config = replace(config, model=replace(config.model, objective=objective))
    found = []
    for accumulate in (1, 4):
        model = random_model(config, token_store)
        optimizer = make_optimizer(model, config=config.optimizer)
        learner = Learner.prepare(model, optimizer, config=config.fit, execution=Execution())
        step = train.make_step(model, config=config)
        parts = microbatches(config, token_store, model, step=4, accumulate=accumulate)
        loss, figures = learner.take_step(parts, step, config=config.fit)
        assert figures["loss_rgb"] > 1
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append({"loss": torch.tensor(loss), **gradients})
        found[-1] |= {n: torch.tensor(v) for n, v in figures.items()}
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-4, atol=1e-5)


def test_a_model_of_rgb_alone_reads_clips_without_depth_and_no_other_does(token_store):
    clip = token_store.batch(np.arange(2), split="train", length=4, stride=4)
    both = tokens_of(clip, modalities=2)
    assert torch.equal(both[1], clip.depth)
    object.__setattr__(clip, "depth", None)
    assert torch.equal(tokens_of(clip, modalities=1), both[:1])
    with pytest.raises(ValueError, match="clips with depth, and these have none"):
        tokens_of(clip, modalities=2)
    assert moved(clip, "cpu").depth is None


def test_some_clips_are_not_told_their_task_and_nothing_else_changes(config, token_store):
    """The last 3 control numbers are taken for the task's."""
    config = replace(config, batch_size=200, draw_size=50)
    model = random_model(config, token_store)
    maker = replace(batch_maker(config, token_store, model), task_size=0)
    (plain,) = maker.microbatches(2)
    (told,) = replace(maker, task_size=3).microbatches(2)
    one, other = plain.content.targets.inputs, told.content.targets.inputs
    for name in ("previous", "current", "masked"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(one.controls[..., :-3], other.controls[..., :-3])
    dropped = (other.controls[..., -3:] == 0).all(dim=(1, 2))
    assert 8 <= dropped.sum() <= 36 and len(set(dropped.reshape(4, 50).sum(1).tolist())) > 1
    assert torch.equal(one.controls[~dropped], other.controls[~dropped])
    (again,) = replace(maker, task_size=3).microbatches(2)
    (later,) = replace(maker, task_size=3).microbatches(3)
    assert torch.equal(again.content.targets.inputs.controls, other.controls)
    zeros = (later.content.targets.inputs.controls[..., -3:] == 0).all(dim=(1, 2))
    assert not torch.equal(zeros, dropped)
    for part in (plain, told):
        for prediction in part.content.self_predicted:
            expected = part.content.targets.inputs.controls
            draw = prediction.inputs.controls
            assert torch.equal(expected[prediction.place], draw)


def test_pasts_are_predicted_as_often_as_was_drawn(config, token_store):
    model = random_model(config, token_store)
    step = disagreeing_step(config, token_store, model)
    (part,) = microbatches(config, token_store, model, step=step)
    (first, *_) = part.content.self_predicted
    found = []
    for passes in (1, 2, 3):
        one = replace(part.content, self_predicted=(replace(first, passes=passes),))
        found.append(self_predict(model, one, corruption=0.0).inputs.previous[:, first.place])
    expected = first.inputs
    for previous in found:
        expected = self_predicted_inputs(model, expected)
        assert torch.equal(previous, expected.previous[:, first.kept])
    assert not torch.equal(found[0], found[1])
