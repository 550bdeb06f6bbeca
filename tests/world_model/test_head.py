"""Logits that start from the previous frame."""

from dataclasses import replace

import pytest
import torch

from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.copying import COPY_BONUS, with_previous
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs

SHAPE = WorldModelConfig(
    control_size=5,
    num_layers=1,
    width=16,
    heads=2,
    grid=(4, 4),
    patch=2,
    factors=3,
    copy_previous=True,
)


@pytest.fixture
def clip():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2**18, (2, 2, 5, 16), generator=generator).int()
    return tokens, torch.randn(2, 5, 5, generator=generator)


def test_a_fresh_model_repeats_the_previous_frame(clip):
    tokens, controls = clip
    for modality, logits in enumerate(WorldModel(SHAPE)(next_frame_inputs(tokens, controls))):
        assert logits.unique().tolist() == [0.0, COPY_BONUS]
        groups = split_factors(tokens[modality, :, :-1], code_bits=18, factors=3)
        assert torch.equal(logits.argmax(dim=-1), groups.long())


def test_the_gate_decides_place_by_place(clip, randomised):
    model = randomised(WorldModel(SHAPE))
    inputs = next_frame_inputs(*clip)
    (features, _) = model.features(inputs)
    head = model.branch(0).head
    gates = head.gate(features[..., : SHAPE.width])
    with_bonus = model.frame_logits(features, modality=0)
    torch.nn.init.zeros_(head.gate.weight)
    torch.nn.init.zeros_(head.gate.bias)
    difference = with_bonus - model.frame_logits(features, modality=0)
    changed = difference.abs() > 1e-6
    assert (changed.sum(dim=-1) == 1).all(), "one entry of each factor of each token"
    assert difference.sum().item() == pytest.approx(gates.sum().item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_entry_travels_exactly_with_the_features(dtype):
    shape = replace(SHAPE, factors=2, patch=1, grid=(16, 32))
    codes = torch.arange(512).reshape(1, 1, 512).int()
    joined = with_previous(torch.zeros(1, 1, 512, 16, dtype=dtype), codes, shape)
    assert torch.equal(
        joined[0, 0, :, 16].long() + 256,
        split_factors(codes, code_bits=18, factors=2)[0, 0, :, 0].long(),
    )


@pytest.mark.parametrize("change", [{"objective": "masked"}, {"factors": 1}])
def test_it_needs_rows_of_the_previous_frame_and_small_factors(change):
    with pytest.raises(ValueError, match="copy_previous needs"):
        replace(SHAPE, **change)
