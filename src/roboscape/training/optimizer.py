"""AdamW for vectors and tables, Muon for matrices, one learning-rate schedule for both."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from roboscape.core.precision import Precision, compute_dtype
from roboscape.training.newton_schulz import orthogonalize
from roboscape.training.parallel import local
from roboscape.training.sharded_muon import orthogonalize_sharded

SLOTS = {"muon": ("momentum",), "adamw": ("first", "second", "count")}
"""State that the optimiser keeps of every parameter of a kind."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The settings of the optimiser that moves the weights."""

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
        first, second = (local(self.slots(parameters, name)) for name in ("first", "second"))
        counts = self.slots(parameters, "count")
        gradients, parameters = local(gradients_of(parameters)), local(parameters)
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
        momenta = local(self.slots(parameters, "momentum"))
        gradients, weights = local(gradients_of(parameters)), local(parameters)
        torch._foreach_lerp_(momenta, gradients, 1 - self.config.momentum)
        ahead = torch._foreach_lerp(gradients, momenta, self.config.momentum)
        torch._foreach_mul_(weights, 1 - group["rate"] * group["weight_decay"])
        by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, parameter in enumerate(parameters):
            by_shape[len(parameter), parameter.numel() // len(parameter)].append(index)
        for (rows, columns), indices in by_shape.items():
            stacked = torch.stack([as_matrix(ahead[index]) for index in indices])
            orthogonal = self.orthogonalize(stacked, like=parameters[indices[0]])
            # An orthogonal matrix has a root-mean-square of 1 / sqrt(max(rows, columns)); 0.2 is
            # that of a typical AdamW update (Liu et al. 2025, "Muon is scalable").
            scale = 0.2 * max(rows, columns) ** 0.5
            for index, update in zip(indices, orthogonal, strict=True):
                shaped = update.to(weights[index].dtype).reshape(weights[index].shape)
                weights[index].add_(shaped, alpha=-group["rate"] * scale)

    def orthogonalize(self, matrices: Tensor, *, like: Tensor) -> Tensor:
        """Newton-Schulz on a batch of equal matrices `m r c`, or on this process's rows of them."""
        dtype = compute_dtype(self.precision, device=like.device.type)
        if isinstance(like, DTensor):
            group = like.device_mesh.get_group()
            return orthogonalize_sharded(matrices, rows=len(like), group=group, dtype=dtype)
        return orthogonalize(matrices, dtype=dtype)

    def slots(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """The state tensors called `name`, zeros where new; sharded as the weights are."""
        for parameter in parameters:
            state = self.state[parameter]
            if name not in state:
                state[name] = torch.zeros(()) if name == "count" else torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]

    def fill_slots(self) -> None:
        """Make the state of every parameter, as a first step would, for a checkpoint to fill."""
        for group in self.param_groups:
            for name in SLOTS[group["kind"]]:
                self.slots(group["params"], name)

    def replace_parameters(self, new: dict[Tensor, Tensor]) -> None:
        """Go on with other parameter objects (sharded ones) before the first step."""
        assert not self.state, "the optimiser has stepped already"
        for group in self.param_groups:
            group["params"] = [new[parameter] for parameter in group["params"]]


def gradients_of(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients, which must be there."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def as_matrix(tensor: Tensor) -> Tensor:
    """A convolution kernel as (output, everything else); a matrix as it is."""
    return tensor.flatten(1)


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
