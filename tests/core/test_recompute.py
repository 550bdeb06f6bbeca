"""What is made again in the backward pass changes nothing but the memory."""

import pytest
import torch

from roboscape.core import attention
from roboscape.core.recompute import recomputed


def kept_bytes(function, *inputs: torch.Tensor) -> int:
    """Bytes that the backward pass of a function keeps, beside its inputs."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(*inputs)
    given = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    return sum(size for storage, size in kept.items() if storage not in given)


def test_gradients_are_equal_and_the_inside_is_not_kept():
    x = torch.randn(64, 32, requires_grad=True)
    weight = torch.randn(32, 16, requires_grad=True)

    def inside(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x.exp().sin() @ weight

    assert kept_bytes(inside, x, weight) > 0
    assert kept_bytes(lambda x, weight: recomputed(inside, x, weight), x, weight) == 0
    plain = torch.autograd.grad(inside(x, weight).square().sum(), (x, weight))
    again = torch.autograd.grad(recomputed(inside, x, weight).square().sum(), (x, weight))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_without_gradients_it_is_the_function_itself():
    with torch.no_grad():
        assert torch.equal(recomputed(torch.exp, torch.ones(3)), torch.ones(3).exp())


@pytest.mark.parametrize("keys", [3, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_pieces_equals_attention_at_once(keys, dtype, monkeypatch):
    q, k, v = (torch.randn(5, 2, keys, 8).to(dtype).requires_grad_() for _ in range(3))
    bias = torch.randn(keys, keys)

    def gradients() -> tuple[torch.Tensor, ...]:
        mixed = attention.attend(q, k, v, bias=bias)
        return (mixed, *torch.autograd.grad(mixed.float().square().sum(), (q, k, v)))

    plain = attention.weighted_values(q, k, v, bias=bias)
    wanted = (plain, *torch.autograd.grad(plain.float().square().sum(), (q, k, v)))
    whole = gradients()
    monkeypatch.setattr(attention, "WEIGHTS_BYTES", 1)
    for a, b, c in zip(wanted, whole, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, c)
