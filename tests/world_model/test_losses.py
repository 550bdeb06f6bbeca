"""Losses against values computed by hand, and expected codes against enumeration."""

import itertools
import math

import pytest
import torch

from roboscape.tokenizer.codes import code_to_vectors, join_factors
from roboscape.world_model.losses import (
    LossConfig,
    accuracy,
    bit_table,
    expected_codes,
    factor_losses,
    total_loss,
)

# Two tokens, two factors of two entries. Probabilities of entry 0: 3/4 and 1/2; 1/2 and 1/5.
PROBABILITIES = torch.tensor([[[0.75, 0.25], [0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8]]])
LOGITS = PROBABILITIES.log() + 7.0
GROUPS = torch.tensor([[0, 1], [1, 1]])


def test_factor_losses_are_minus_log_probabilities():
    expected = -torch.tensor([[0.75, 0.5], [0.5, 0.8]]).log()
    torch.testing.assert_close(factor_losses(LOGITS, GROUPS), expected)


def test_the_total_is_equation_8():
    config = LossConfig(depth=2.0, keypoint=0.5, attention=3.0)
    means = {"rgb": 1.0, "depth": 10.0, "keypoint": 100.0, "attention": 1000.0}
    means = {name: torch.tensor(mean) for name, mean in means.items()}
    assert total_loss(means, config).item() == 1 + 2 * 10 + 0.5 * 100 + 3 * 1000
    assert total_loss({"rgb": means["rgb"]}, config).item() == 1


@pytest.mark.parametrize(("factors", "bits"), [(1, 3), (2, 2), (3, 1)])
def test_expected_codes_equal_the_sum_over_the_whole_vocabulary(factors, bits):
    generator = torch.Generator().manual_seed(factors)
    logits = torch.randn(factors, 2**bits, generator=generator, dtype=torch.float64)
    probabilities = logits.softmax(dim=-1)
    expected = torch.zeros(factors * bits, dtype=torch.float64)
    for groups in itertools.product(range(2**bits), repeat=factors):
        code = join_factors(torch.tensor(groups), code_bits=factors * bits)
        probability = math.prod(probabilities[f, g] for f, g in enumerate(groups))
        expected += probability * code_to_vectors(code, code_bits=factors * bits)
    torch.testing.assert_close(expected_codes(logits).double(), expected, atol=1e-6, rtol=0)


def test_certain_predictions_have_their_own_code_as_expectation():
    logits = torch.full((2, 512), -1e4)
    logits[0, 77], logits[1, 300] = 1e4, 1e4
    code = join_factors(torch.tensor([77, 300]), code_bits=18)
    assert torch.equal(expected_codes(logits), code_to_vectors(code, code_bits=18))


def test_bit_table_is_every_code_once():
    table = bit_table(bits=9)
    assert table.shape == (512, 9)
    assert len(table.unique(dim=0)) == 512
    assert table[5].tolist() == [1, -1, 1] + [-1] * 6


def test_accuracy_wants_every_factor_right():
    assert accuracy(LOGITS, torch.tensor([[0, 0], [1, 0]])).item() == 0.5


def test_losses_of_bf16_logits_are_computed_in_fp32():
    logits = torch.randn(64, 2, 512).bfloat16()
    groups = torch.randint(512, (64, 2))
    torch.testing.assert_close(factor_losses(logits, groups), factor_losses(logits.float(), groups))


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        LossConfig(depth=-1.0)
