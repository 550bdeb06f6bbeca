import pytest
import torch

from roboscape.tokenizer.losses import TokenizerLossConfig, code_usage, psnr, tokenizer_loss


def test_psnr_of_a_known_error():
    truth = torch.zeros(2, 3, 4, 4)
    wrong = truth.clone()
    wrong[1] += 0.2
    scores = psnr(wrong, truth)
    assert scores[0] > 100
    # An error of a tenth of the range of 2 is 20 dB.
    assert scores[1].item() == pytest.approx(20.0, abs=1e-4)


def test_usage_finds_a_dead_bit():
    codes = torch.tensor([[0b00, 0b10], [0b00, 0b10]], dtype=torch.int32)
    usage = code_usage(codes, code_bits=2)
    assert usage.lowest_bit_entropy < 1e-6
    assert usage.mean_bit_entropy == pytest.approx(0.5, abs=1e-6)
    assert usage.distinct == 0.5


def test_the_loss_is_the_weighted_sum_of_what_it_reports(tokenizer):
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    config = TokenizerLossConfig(
        squared=2.0, absolute=3.0, entropy=0.5, diversity=0.7, commitment=0.3
    )
    loss, terms = tokenizer_loss(tokenizer.train()(images), images, config=config)
    expected = (
        2 * terms["squared"]
        + 3 * terms["absolute"]
        + 0.5 * (terms["sample_entropy"] - 0.7 * terms["batch_entropy"])
        + 0.3 * terms["commitment"]
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
