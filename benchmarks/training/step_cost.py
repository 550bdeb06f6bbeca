"""What a training step of a world model asks for, counted without memory or computing.

The model's own code runs on tensors that have shapes and no contents, so every operation, every
tensor kept for the backward pass and every parameter is counted as it is, at any size, on any
machine. Attention is the fused kernel, as on a GPU.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution
from roboscape.world_model import model as attention
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.train import block_names


def fused_flops(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> float:
    """Of the fused attention kernel."""
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def fused_backward_flops(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any
) -> float:
    """Of its backward pass, which computes the scores again."""
    return sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape)


FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: fused_backward_flops,
}
"""FLOPs of an operation from its arguments; PyTorch leaves out the CPU's fused attention."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations: how many, and what they ask of a device."""

    operations: tuple[tuple[float, float, float], ...]
    """(how many, FLOPs of each, bytes that each reads and writes)."""

    @property
    def flops(self) -> float:
        """Of matrix products."""
        return sum(count * flops for count, flops, _ in self.operations)

    @property
    def kernels(self) -> float:
        """Operations that a device is asked for, one by one."""
        return sum(count for count, _, _ in self.operations)

    def seconds(self, *, flops_per_s: float, bytes_per_s: float) -> float:
        """The roofline: each operation at the speed of what limits it, nothing fused."""
        return sum(
            count * max(flops / flops_per_s, size / bytes_per_s)
            for count, flops, size in self.operations
        )


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """A training step of some clips on one device. The memory of a clip is that of one more."""

    clips: int
    forward: Work
    backward: Work
    """With the blocks' second forward pass where activations are recomputed."""
    kept_bytes_per_clip: float
    """Activations kept from the forward to the backward pass."""
    again_bytes_per_clip: float
    """Activations of the block that is being recomputed."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of parameters."""

    total: int
    block: int
    """Of one block of one branch."""
    muon: int
    """Matrices that Muon moves: one remembered number each; AdamW remembers two."""
    muon_step_flops: float
    """To orthogonalise all of Muon's matrices once."""

    @property
    def outside(self) -> int:
        """Embeddings, heads and everything else that belongs to no block."""
        return self.total - self.block

    @property
    def remembered(self) -> int:
        """Numbers that the optimiser remembers."""
        return self.muon + 2 * (self.total - self.muon)


class Operations(TorchDispatchMode):
    """Counts operations by their FLOPs and bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[float, float]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run, and count what is no view."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if moves_data(func):
            formula = FORMULAS.get(func._overloadpacket)
            flops = formula(*args, **kwargs, out_val=result) if formula else 0
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.seen[flops, sum(t.numel() * t.element_size() for t in tensors)] += 1
        return result


def moves_data(func: Any) -> bool:
    """Whether an operation touches contents (views and questions do not)."""
    if func._schema.name.startswith("prim::") or "_unsafe_view" in func._schema.name:
        return False
    aliases = [r.alias_info for r in func._schema.returns if r.alias_info is not None]
    return not any(not alias.is_write for alias in aliases)


def fused_attention(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    *,
    bias: Float[Tensor, "q k"] | None = None,
) -> Float[Tensor, "b h q d"]:
    """What `roboscape.core.attention.attend` does on a GPU."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q))


def count_parameters(config: WorldModelConfig) -> Parameters:
    """Of the whole model, of a block, of Muon's share."""
    with torch.device("meta"):
        model = WorldModel(config)
    optimizer = make_optimizer(model, config=OptimizerConfig(), tables=model.tables())
    muon = [g["params"] for g in optimizer.param_groups if g["kind"] == "muon"]
    (block, *_) = block_names(model)
    return Parameters(
        total=size(model.parameters()),
        block=size(model.get_submodule(block).parameters()),
        muon=sum(size(parameters) for parameters in muon),
        muon_step_flops=sum(orthogonalize_flops(*p.shape) for group in muon for p in group),
    )


def orthogonalize_flops(rows: int, columns: int, *, iterations: int = 5) -> float:
    """Of Newton-Schulz on a matrix: a Gram matrix, its square, their product with the matrix."""
    short, long = sorted((rows, columns))
    return iterations * (4.0 * short**2 * long + 2.0 * short**3)


def size(parameters: Any) -> int:
    """Numbers in all of them."""
    return sum(parameter.numel() for parameter in parameters)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One forward and backward pass."""

    forward: Counter[tuple[float, float]]
    backward: Counter[tuple[float, float]]
    kept_bytes: int
    """Contents kept for the backward pass, parameters left out."""


def step_cost(config: WorldModelConfig, *, clips: int, recompute: bool) -> StepCost:
    """Forward and backward pass of the transformer; a deep one is counted from its first blocks.

    The heads come in `head_flops`: they are computed in small chunks.
    """
    depths = [replace(config, num_layers=depth) for depth in (1, 2)]
    one, two = (count(shape, clips=clips, recompute=recompute) for shape in depths)
    more = [count(shape, clips=clips + 1, recompute=recompute).kept_bytes for shape in depths]
    first, both = more[0] - one.kept_bytes, more[1] - two.kept_bytes
    again = 0.0
    if recompute:
        plain = step_cost(replace(config, num_layers=2), clips=clips, recompute=False)
        again = (plain.kept_bytes_per_clip - first) / (2 * config.modalities)
    return StepCost(
        clips=clips,
        forward=extrapolate(one.forward, two.forward, depth=config.num_layers),
        backward=extrapolate(one.backward, two.backward, depth=config.num_layers),
        kept_bytes_per_clip=first + (config.num_layers - 1) * (both - first),
        again_bytes_per_clip=again,
    )


def extrapolate(
    one: Counter[tuple[float, float]], two: Counter[tuple[float, float]], *, depth: int
) -> Work:
    """Operations of a deep model from those with one block and with two."""
    counts = {key: one[key] + (depth - 1) * (two[key] - one[key]) for key in one | two}
    return Work(operations=tuple((count, *key) for key, count in counts.items() if count))


def count(config: WorldModelConfig, *, clips: int, recompute: bool) -> Counted:
    """Run a small number of blocks on tensors without contents."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with FakeTensorMode(), patch.object(attention, "attend", fused_attention):
        model = WorldModel(config)
        Execution(recompute=recompute, blocks=block_names(model)).apply(model)
        forward, backward = Operations(), Operations()
        saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with saving, torch.autocast("cpu", torch.bfloat16), forward:
            features = model.features(empty_rows(config, clips=clips))
        with backward:
            torch.autograd.backward(features, [torch.empty_like(x) for x in features])
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    return Counted(
        forward=forward.seen,
        backward=backward.seen,
        kept_bytes=sum(storage.nbytes() for storage in kept.values()),
    )


def empty_rows(config: WorldModelConfig, *, clips: int) -> ModelInputs:
    """Training rows with everything hidden."""
    shape = (config.modalities, clips, config.window, config.tokens_per_frame)
    return ModelInputs(
        previous=torch.zeros(shape, dtype=torch.long),
        current=torch.zeros(shape, dtype=torch.long),
        masked=torch.ones(shape, dtype=torch.bool),
        controls=torch.zeros(clips, config.window, config.control_size),
    )


def head_flops(config: WorldModelConfig) -> float:
    """FLOPs of all logits of a clip, forward pass: each position's factors, in every branch."""
    logits = config.tokens_per_patch * config.factors * config.factor_size
    positions = config.modalities * config.window * config.patches_per_frame
    return 2.0 * positions * config.width * logits
