"""Losses against values computed by hand, and expected codes against enumeration."""

import itertools
import math

import pytest
import torch

from roboscape.tokenizer.codes import code_to_vectors, join_factors
from roboscape.world_model.losses import (
    LossConfig,
    accuracy,
    attention_loss,
    bit_table,
    cross_entropy_loss,
    expected_codes,
    keypoint_loss,
    token_losses,
)
from roboscape.world_model.objective import Terms

# Two tokens, two factors of two entries. Probabilities of entry 0: 3/4 and 1/2; 1/2 and 1/5.
PROBABILITIES = torch.tensor([[[0.75, 0.25], [0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8]]])
LOGITS = PROBABILITIES.log() + 7.0
GROUPS = torch.tensor([[0, 1], [1, 1]])


def test_token_losses_are_minus_log_probabilities():
    expected = -torch.tensor([[0.75, 0.5], [0.5, 0.8]]).log()
    torch.testing.assert_close(token_losses(LOGITS, GROUPS), expected)


def test_cross_entropy_sums_factors_and_averages_tokens():
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.5) + math.log(0.8)) / 2
    assert cross_entropy_loss(token_losses(LOGITS, GROUPS)).item() == pytest.approx(expected)


def test_attention_weighs_tokens_with_the_same_divisor():
    losses = token_losses(LOGITS, GROUPS)
    first, second = -math.log(0.75 * 0.5), -math.log(0.5 * 0.8)
    weighted = attention_loss(losses, torch.tensor([5.0, 1.0])).item()
    assert weighted == pytest.approx((5 * first + second) / 2)
    ones = attention_loss(losses, torch.ones(2))
    torch.testing.assert_close(ones, cross_entropy_loss(losses))


def test_keypoint_loss_is_the_mean_squared_distance():
    predicted = torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    first = torch.tensor([[1.0, 1.0], [-0.5, 1.0]])
    assert keypoint_loss(predicted, first).item() == pytest.approx((4 + 1 + 1) / 2)


def test_keypoint_loss_of_no_points_is_zero_and_has_a_gradient():
    empty = torch.zeros(0, 2, requires_grad=True)
    loss = keypoint_loss(empty, torch.zeros(0, 2))
    loss.backward()
    assert loss.item() == 0


def test_the_total_is_equation_8():
    config = LossConfig(depth=2.0, keypoint=0.5, attention=3.0)
    one, two, three, four = (torch.tensor(value) for value in (1.0, 10.0, 100.0, 1000.0))
    terms = Terms(rgb=one, depth=two, keypoint=three, attention=four)
    assert terms.total(config).item() == 1 + 2 * 10 + 0.5 * 100 + 3 * 1000
    assert Terms(rgb=one).total(config).item() == 1


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
    torch.testing.assert_close(token_losses(logits, groups), token_losses(logits.float(), groups))


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        LossConfig(depth=-1.0)
