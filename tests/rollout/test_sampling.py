import itertools

import pytest
import torch

from roboscape.core.seeding import generator_for
from roboscape.rollout.sampling import choose, hidden_after, hide_least_confident

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0]).expand(1, 20_000, 1, 4)


def frequencies(temperature):
    choice = choose(
        LOGITS,
        given=torch.zeros(LOGITS.shape[:2], dtype=torch.int),
        code_bits=2,
        temperature=temperature,
        generators=[generator_for(0)],
    )
    return torch.bincount(choice.codes.flatten().long(), minlength=4) / LOGITS.shape[1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_of_logits_over_temperature(temperature):
    expected = (LOGITS[0, 0, 0] / temperature).softmax(dim=-1)
    torch.testing.assert_close(frequencies(temperature), expected, atol=0.015, rtol=0)


def test_temperature_really_changes_the_entropy():
    entropies = [
        torch.special.entr(frequencies(temperature)).sum() for temperature in (0.0, 0.5, 1.0, 3.0)
    ]
    assert entropies[0] == 0
    assert all(low + 0.1 < high for low, high in itertools.pairwise(entropies))


def test_confidence_is_the_probability_of_the_whole_code():
    logits = torch.randn(1, 3, 2, 4)
    given = torch.tensor([[3 + 4 * 2, 0, 3]], dtype=torch.int)
    choice = choose(logits, given=given, code_bits=4, temperature=0.0)
    probabilities = logits.softmax(dim=-1)
    torch.testing.assert_close(choice.confidence, probabilities.amax(dim=-1).prod(dim=-1))
    of_given = probabilities[:, range(3), 0, [3, 0, 3]] * probabilities[:, range(3), 1, [2, 0, 0]]
    torch.testing.assert_close(choice.soft.unchanged, of_given)
    low, high = logits.argmax(dim=-1).unbind(dim=-1)
    assert torch.equal(choice.codes, (low + 4 * high).int())


def test_the_schedule_falls_to_zero():
    assert hidden_after(0, steps=1, tokens=64) == 0
    counts = [hidden_after(step, steps=8, tokens=64) for step in range(8)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 62
    assert counts[-1] == 0


def test_the_least_confident_stay_hidden_and_revealed_ones_stay_revealed():
    confidence = torch.tensor([[0.1, 0.9, 0.3, 0.2]])
    hidden = torch.tensor([[False, True, True, True]])
    kept = hide_least_confident(confidence, hidden=hidden, count=2)
    assert kept.tolist() == [[False, False, True, True]]
    none = hide_least_confident(confidence, hidden=hidden, count=0)
    assert not none.any()
