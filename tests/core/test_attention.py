import pytest
import torch

from roboscape.core import attention


@pytest.mark.parametrize("pieces", [1, 3])
def test_every_sequence_may_have_a_bias_of_its_own(monkeypatch, pieces):
    """Also where a batch is worked through in pieces."""
    q, k, v = torch.randn(3, 3, 2, 4, 8)
    if pieces > 1:
        monkeypatch.setattr(attention, "WEIGHTS_BYTES", 1)
    bias = torch.zeros(3, 1, 4, 4).masked_fill(torch.rand(3, 1, 4, 4) < 0.4, -torch.inf)
    bias[..., 0] = 0
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(attention.attend(q, k, v, bias=bias), expected)
