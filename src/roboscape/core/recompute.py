"""Computing again in the backward pass what is cheaper to compute than to keep."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The function's value, of which nothing but the inputs is kept for the backward pass.

    That pass computes the inside again, but not the last operation: it needs only its inputs.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    result = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(result, Tensor)
    return result
