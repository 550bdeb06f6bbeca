from dataclasses import replace

import pytest
import torch

from roboscape.core.seeding import generator_for
from roboscape.tokenizer.codes import MISSING
from roboscape.world_model.batches import passes_of
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import (
    MaskingConfig,
    corrupted_inputs,
    draw_masked,
    masked_inputs,
    masking_rates,
    next_frame_inputs,
    replacement_frames,
    revealed_inputs,
    self_predicted_inputs,
    without_views,
)

TOKENS = torch.arange(2 * 16 * 5 * 12).reshape(2, 16, 5, 12).int()
CONTROLS = torch.randn(16, 5, 3)
FOREIGN = 10_000
"""A code that none of the tokens has."""


def random_model():
    """A model of both branches for `TOKENS` and `CONTROLS`, all of whose weights are random."""
    torch.manual_seed(0)
    model = WorldModel(
        WorldModelConfig(control_size=3, num_layers=1, width=8, heads=2, code_bits=4, grid=(3, 4))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_timesteps_pair_a_frame_with_the_one_before_and_its_control():
    inputs = next_frame_inputs(TOKENS, CONTROLS)
    assert torch.equal(inputs.previous, TOKENS[:, :, :-1])
    assert torch.equal(inputs.current, TOKENS[:, :, 1:])
    assert torch.equal(inputs.controls, CONTROLS[:, 1:])
    assert inputs.masked.all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_fully_hidden_rows(share):
    inputs = next_frame_inputs(TOKENS.repeat(1, 20, 1, 1), CONTROLS.repeat(20, 1, 1))
    inputs = revealed_inputs(inputs, fully_masked=share, generator=generator_for(0))
    whole = inputs.masked.all(dim=-1).all(dim=0).float().mean().item()
    # A timestep whose rate is close to 1 may be whole by chance.
    assert share <= whole + 0.05
    assert whole <= share + 0.2
    assert inputs.masked.any(dim=-1).all()


def test_hiding_rates_are_cosine_distributed():
    rates = masking_rates((100, 200), generator=generator_for(0))
    assert rates.mean().item() == pytest.approx(2 / torch.pi, abs=0.01)
    hidden = draw_masked(
        torch.full((50, 20), 0.3), modalities=2, tokens=64, generator=generator_for(1)
    )
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_corruption_replaces_by_the_same_place_of_another_frame():
    inputs = next_frame_inputs(TOKENS, CONTROLS)
    found = corrupted_inputs(inputs, largest_rate=0.5, generator=generator_for(0))
    changed = found.previous != inputs.previous
    assert 0.1 < changed.float().mean() < 0.4
    place, modality = 12, 16 * 5 * 12
    assert torch.equal(found.previous % place, inputs.previous % place)
    assert torch.equal(found.previous // modality, inputs.previous // modality)
    none = corrupted_inputs(inputs, largest_rate=0.0, generator=generator_for(0))
    assert torch.equal(none.previous, inputs.previous)


@pytest.mark.parametrize("clips", [1, 2, 16])
def test_replacements_never_come_from_a_clips_own_future(clips):
    seen = set()
    for seed in range(50):
        source = replacement_frames(clips, 4, generator=generator_for(seed)).reshape(clips, 4)
        for clip in range(clips):
            for frame in range(4):
                where, when = divmod(source[clip, frame].item(), 4)
                first_alone = clips == 1 and frame == 0
                assert where != clip or when < frame or first_alone
                seen.add((where - clip, when))
    assert {when for other, when in seen if other} == (set(range(4)) if clips > 1 else set())
    assert {0, 1, 2} == {when for other, when in seen if not other}


def test_corruption_shows_nothing_of_a_clips_own_future():
    tokens = TOKENS[:, :1].repeat(1, 2, 1, 1)
    tokens[:, 1] = FOREIGN  # another clip, without anything of the first
    found = corrupted_inputs(
        next_frame_inputs(tokens, CONTROLS[:2]), largest_rate=1.0, generator=generator_for(0)
    ).previous[:, 0]
    frame = found % (5 * 12) // 12
    now = torch.arange(4).reshape(1, 4, 1)
    foreign = found == FOREIGN
    assert (foreign | (frame <= now)).all()
    assert foreign.any()
    assert (~foreign & (frame < now)).any(), "its own past is allowed"


def test_self_predictions_keep_the_first_frame_and_shift_by_one():
    model = random_model()
    inputs = next_frame_inputs(TOKENS % 16, CONTROLS)
    found = self_predicted_inputs(model, inputs)
    assert torch.equal(found.previous[:, :, 0], inputs.previous[:, :, 0])
    low, high = model(inputs)[0].argmax(dim=-1).unbind(dim=-1)
    assert torch.equal(found.previous[0, :, 1:], (low + 4 * high)[:, :-1].int())


def test_as_many_self_predictions_as_frames_are_a_rollout():
    model = random_model()
    inputs = next_frame_inputs(TOKENS % 16, CONTROLS)
    frames = inputs.previous.shape[2]
    rolled = inputs.previous.clone()
    for frame in range(frames - 1):
        predicted = model(replace(inputs, previous=rolled.clone()))
        for modality, logits in enumerate(predicted):
            low, high = logits.argmax(dim=-1).unbind(dim=-1)
            rolled[modality, :, frame + 1] = (low + 4 * high)[:, frame]
    found = inputs
    for passes in range(frames - 1):
        assert not torch.equal(found.previous, rolled), passes
        found = self_predicted_inputs(model, found)
    assert torch.equal(found.previous, rolled)
    assert torch.equal(self_predicted_inputs(model, found).previous, rolled)


def test_passes_are_drawn_up_to_the_most():
    assert {passes_of((0, step), most=3) for step in range(40)} == {1, 2, 3}
    assert {passes_of((0, step), most=1) for step in range(9)} == {1}
    with pytest.raises(ValueError, match="self_predicted_passes"):
        MaskingConfig(self_predicted_passes=0)


def test_plain_masked_rows_are_clean_then_masked():
    inputs = masked_inputs(TOKENS, CONTROLS, generator=generator_for(0))
    assert inputs.previous is None
    hidden = inputs.masked.any(dim=-1).any(dim=0)
    assert not hidden[:, 0].any()
    assert hidden[:, -1].all()
    assert (hidden[:, 1:] >= hidden[:, :-1]).all()


def test_shares_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="shares"):
        MaskingConfig(corruption=1.5)


def test_self_prediction_leaves_the_training_pass_its_gradients():
    """Autocast keeps cast weights; those of the prediction's pass carry no gradient."""
    model = random_model()
    inputs = next_frame_inputs(TOKENS % 16, CONTROLS)
    with torch.autocast("cpu", torch.bfloat16):
        inputs = self_predicted_inputs(model, inputs)
        loss = sum(logits.float().square().mean() for logits in model(inputs))
    loss.backward()
    for name, parameter in model.named_parameters():
        if "embedding.current" not in name:  # nothing of a timestep's own frame is shown
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.fixture
def half_without_depth():
    """Clips of which every other one has no depth."""
    tokens = TOKENS.clone()
    tokens[1, ::2] = MISSING
    return tokens


def test_depth_that_a_clip_lacks_is_not_to_be_predicted(half_without_depth):
    inputs = next_frame_inputs(half_without_depth, CONTROLS)
    generator = generator_for(0)
    for found in (
        inputs,
        revealed_inputs(inputs, fully_masked=0.5, generator=generator),
        masked_inputs(half_without_depth, CONTROLS, generator=generator),
    ):
        assert not found.masked[1, ::2].any()
        assert found.masked[1, 1::2].any() and found.masked[0, ::2].any()
        assert found.current.min() >= 0


def test_a_model_does_not_make_up_depth_that_a_clip_lacks(half_without_depth):
    model = WorldModel(
        WorldModelConfig(control_size=3, num_layers=1, width=16, heads=2, grid=(3, 4))
    ).eval()
    found = self_predicted_inputs(model, next_frame_inputs(half_without_depth, CONTROLS))
    assert (found.previous[1, ::2] <= 0).all()
    assert (found.previous[1, 1::2] > 0).any()


class TestMissingViews:
    """One of several views is hidden from a clip's first frame up to a random one."""

    def hidden(self, *, share):
        tokens = torch.ones(2, 60, 5, 12).int()
        inputs = next_frame_inputs(tokens, torch.zeros(60, 5, 3))
        generator = torch.Generator().manual_seed(0)
        found = without_views(inputs, cameras=3, share=share, generator=generator)
        assert torch.equal(found.masked, inputs.masked), "it is predicted all the same"
        return (found.previous == MISSING).unflatten(3, (3, 4))

    def test_one_view_goes_as_a_whole_for_rgb_and_depth(self):
        gone = self.hidden(share=1.0)
        assert torch.equal(gone[0], gone[1])
        assert torch.equal(gone.any(dim=-1), gone.all(dim=-1))
        assert (gone[0, :, 0, :, 0].sum(dim=1) == 1).all()
        assert gone[0, :, 0, :, 0].any(dim=0).all(), "each view now and then"

    def test_it_comes_back_and_stays(self):
        gone = self.hidden(share=1.0)[0, ..., 0].any(dim=-1)
        assert (gone[:, 1:] <= gone[:, :-1]).all()
        assert set(gone.sum(dim=1).tolist()) == {1, 2, 3, 4}

    def test_other_clips_are_left_alone(self):
        assert not self.hidden(share=0.0).any()
        assert 3 < self.hidden(share=0.2)[0, :, 0, :, 0].any(dim=1).sum() < 25

    def test_corruption_neither_fills_it_nor_spreads_it(self):
        tokens = torch.arange(2 * 6 * 5 * 4).reshape(2, 6, 5, 4).int()
        tokens[:, ::2, :, :2] = MISSING
        inputs = next_frame_inputs(tokens, torch.zeros(6, 5, 3))
        generator = torch.Generator().manual_seed(0)
        found = corrupted_inputs(inputs, largest_rate=1.0, generator=generator)
        assert torch.equal(found.previous == MISSING, inputs.previous == MISSING)
        assert not torch.equal(found.previous, inputs.previous)
