"""AdamW for vectors and tables, Muon for matrices, one learning-rate schedule for both."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from roboscape.core.precision import Precision, compute_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (K. Jordan, "Muon", 2024)."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights move."""

    kind: Literal["adamw", "muon"] = "muon"
    """Muon orthogonalises the updates of hidden matrices; everything else stays with AdamW."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.01
    """Peak learning rate of Muon's matrices, in units of the update's root mean square."""
    weight_decay: float = 0.01
    """Decoupled, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    momentum: float = 0.95
    """Muon's Nesterov momentum."""
    warmup_steps: int = 50
    """Linear from zero to the peak."""
    decay_fraction: float = 0.5
    """Last part of the run in which the rate falls linearly to zero."""


def rate_at(step: int, *, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of `step` as a share of its peak: warm up, hold, decay to zero."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cool = (steps - step) / max(1.0, steps * config.decay_fraction)
    return max(0.0, min(warm, cool, 1.0))


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser over two kinds of parameter groups, `muon` and `adamw`.

    Muon (K. Jordan 2024): the momentum of a matrix is replaced by its nearest orthogonal matrix,
    scaled to a root-mean-square of `rate` as AdamW's updates have. Own code because
    `torch.optim.Muon` always iterates in bf16, which is hundreds of times slower on some CPUs, and
    one matrix at a time.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        config: OptimizerConfig,
        precision: Precision = "auto",
    ) -> None:
        super().__init__(groups, {"peak": 0.0, "rate": 0.0, "weight_decay": 0.0, "kind": "adamw"})
        self.config = config
        self.precision: Precision = precision

    def set_rate(self, share: float) -> None:
        """Set every group's learning rate to this share of its peak."""
        for group in self.param_groups:
            group["rate"] = group["peak"] * share

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Apply the gradients once."""
        assert closure is None, "a closure is not supported"
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if group["kind"] == "muon":
                self.step_muon(parameters, group)
            else:
                self.step_adamw(parameters, group)

    def step_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """AdamW (Loshchilov & Hutter 2019), all parameters of a group at once."""
        first, second = self.slots(parameters, "first"), self.slots(parameters, "second")
        counts = self.slots(parameters, "count", scalar=True)
        gradients = gradients_of(parameters)
        beta1, beta2 = self.config.betas
        torch._foreach_add_(counts, 1.0)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        count = float(counts[0])
        denominators = torch._foreach_sqrt(second)
        torch._foreach_div_(denominators, (1 - beta2**count) ** 0.5)
        torch._foreach_add_(denominators, 1e-8)
        torch._foreach_mul_(parameters, 1 - group["rate"] * group["weight_decay"])
        torch._foreach_addcdiv_(
            parameters, first, denominators, value=-group["rate"] / (1 - beta1**count)
        )

    def step_muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Muon, with equal shapes orthogonalised together in one batch."""
        momenta = self.slots(parameters, "momentum")
        gradients = gradients_of(parameters)
        torch._foreach_lerp_(momenta, gradients, 1 - self.config.momentum)
        ahead = torch._foreach_lerp(gradients, momenta, self.config.momentum)
        torch._foreach_mul_(parameters, 1 - group["rate"] * group["weight_decay"])
        by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, update in enumerate(ahead):
            by_shape[as_matrix(update).size(0), as_matrix(update).size(1)].append(index)
        dtype = compute_dtype(self.precision, device=parameters[0].device.type)
        for (rows, columns), indices in by_shape.items():
            stacked = torch.stack([as_matrix(ahead[index]) for index in indices])
            orthogonal = orthogonalize(stacked, dtype=dtype)
            # An orthogonal matrix has a root-mean-square of 1 / sqrt(max(rows, columns)); 0.2 is
            # that of a typical AdamW update (Liu et al. 2025, "Muon is scalable").
            scale = 0.2 * max(rows, columns) ** 0.5
            for index, update in zip(indices, orthogonal, strict=True):
                shaped = update.to(parameters[index].dtype).reshape(parameters[index].shape)
                parameters[index].add_(shaped, alpha=-group["rate"] * scale)

    def slots(self, parameters: list[Tensor], name: str, *, scalar: bool = False) -> list[Tensor]:
        """The state tensors called `name`, zeros where new."""
        for parameter in parameters:
            state = self.state[parameter]
            if name not in state:
                state[name] = torch.zeros(()) if scalar else torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def gradients_of(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients, which must be there."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def as_matrix(tensor: Tensor) -> Tensor:
    """A convolution kernel as (output, everything else); a matrix as it is."""
    return tensor.flatten(1)


def orthogonalize(matrices: Tensor, *, dtype: torch.dtype, iterations: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrices of a batch `m r c`, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(dtype)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def make_optimizer(
    model: nn.Module,
    *,
    config: OptimizerConfig,
    tables: Iterable[str] = (),
    precision: Precision = "auto",
) -> MuonAdamW:
    """Sort a model's parameters into groups and build the optimiser.

    Args:
        model: Only parameters that want a gradient are taken.
        config: Rates and kinds.
        tables: Beginnings of names of matrices that are no hidden layers (embeddings, heads): they
            stay with AdamW, without weight decay.
        precision: Number format of Muon's iteration.
    """
    starts = tuple(tables)
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            hidden = parameter.ndim >= 2 and not name.startswith(starts or ("\0",))
            (matrices if hidden else others).append(parameter)
    muon = config.kind == "muon"
    groups = [
        {
            "params": matrices,
            "kind": config.kind,
            "peak": config.muon_learning_rate if muon else config.learning_rate,
            "weight_decay": config.weight_decay,
        },
        {"params": others, "kind": "adamw", "peak": config.learning_rate, "weight_decay": 0.0},
    ]
    return MuonAdamW(
        [group for group in groups if group["params"]], config=config, precision=precision
    )
