"""Many processes, one training: DDP and FSDP2 around a model that mentions neither."""

import gc
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from roboscape.core.device import resolve_device
from roboscape.core.errors import UserError
from roboscape.core.precision import Format, Kind

Parallel = Literal["none", "ddp", "fsdp"]
"""`ddp`: every process holds the whole model. `fsdp`: each holds its part of every tensor."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a run, and this one's number among them; by default there is only one."""

    parallel: Parallel = "none"
    rank: int = 0
    size: int = 1
    device: str = "cpu"
    """`cpu` or `cuda`; each process has a CUDA device of its own as the current one."""

    @property
    def is_main(self) -> bool:
        """True if this process is the one that logs and writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over all processes, the same bits on each."""
        if self.size == 1:
            return values
        summed = values.detach().to(self.device, copy=True)
        dist.all_reduce(summed)
        return summed.to(values.device)

    def share(self, value: Value) -> Value:
        """The main process's value, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.size > 1:
            dist.barrier()


ONE_RANK = Ranks()
"""A run of one process."""


@contextmanager
def init_distributed(parallel: Parallel, *, device: str) -> Iterator[Ranks]:
    """The ranks that `torchrun` started, in a process group while the context lasts; else one.

    Raises:
        ValueError: several processes without `--parallel`, or a device that is not there.
    """
    device = resolve_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if parallel == "none":
        if size > 1:
            raise UserError(
                f"torchrun started {size} processes, and each would train a model of its own; add "
                "--parallel ddp, or --parallel fsdp for a model too large for one device"
            )
        yield Ranks(device=device)
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    ranks = Ranks(
        parallel=parallel, rank=dist.get_rank(), size=dist.get_world_size(), device=device
    )
    if not ranks.is_main:
        logging.getLogger("roboscape").setLevel(logging.WARNING)
    try:
        yield ranks
    except BaseException:
        # The others may be inside a collective that this process will never join.
        if ranks.size == 1:
            dist.destroy_process_group()
        raise
    leave()


def leave() -> None:
    """Destroy the process group when its threads are at rest.

    A gloo thread lets go of finished work a moment after the work is seen to be finished, and takes
    the interpreter's lock for it; the thread that destroys the group holds that lock and joins the
    gloo thread (pytorch#56297).
    """
    gc.collect()
    time.sleep(0.2)
    dist.destroy_process_group()


class Pass(nn.Module):
    """Calls functions that use a model, as a module: hooks around it see every pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function."""
        return function(*arguments)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The execution of a run: its ranks and number formats; no model mentions it."""

    ranks: Ranks = ONE_RANK
    blocks: tuple[str, ...] = ()
    """Names of the model's large repeated parts: each is gathered only while it runs."""
    formats: Mapping[Kind, Format] = field(default_factory=dict)
    """What the run computes in. Under `fsdp` blocks are gathered in that of matrix products, and
    gradients summed in fp32."""
    recompute: bool = False
    """Whether the backward pass computes a block's inner activations again instead of keeping
    them (activation checkpointing)."""
    loaders: int = 0
    """Processes that prepare batches; 0 for a thread of this one."""

    def apply(self, model: nn.Module) -> nn.Module:
        """A module that functions of `model` are to be called through.

        Under `fsdp` the model is sharded in place: its parameters are other objects afterwards.
        """
        blocks = [model.get_submodule(name) for name in self.blocks]
        if self.recompute:
            for block in blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        wrapped = Pass(model)
        if self.ranks.parallel == "fsdp":
            return self.shard(wrapped, blocks)
        learns = any(parameter.requires_grad for parameter in model.parameters())
        if self.ranks.parallel == "ddp" and learns:
            # A switched-off loss leaves parameters without gradients.
            return DistributedDataParallel(
                wrapped, find_unused_parameters=True, gradient_as_bucket_view=True
            )
        return wrapped

    def shard(self, wrapped: Pass, blocks: Iterable[nn.Module]) -> nn.Module:
        """FSDP2: every process keeps its rows of every tensor."""
        mesh = init_device_mesh(self.ranks.device, (self.ranks.size,))
        # Autocast decides the format of every operation; the policy only that of the transfer.
        transfer = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self.formats.get("matmul") == "bf16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=transfer)
        fully_shard(wrapped, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
        return wrapped


def gradients_later(wrapped: nn.Module) -> AbstractContextManager[None]:
    """Add up the gradients of a pass on this process only (more passes of the step follow).

    FSDP sums at every pass: keeping whole gradients would take the memory that it saves.
    """
    if isinstance(wrapped, DistributedDataParallel):
        return wrapped.no_sync()
    return nullcontext()


def free_gathered(wrapped: nn.Module) -> None:
    """Drop the gathered copy of what FSDP keeps after a pass: the shards are about to change."""
    if isinstance(wrapped, FSDPModule):
        wrapped.reshard()


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """This process's own parts, sharing their memory; plain tensors as they are."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def whole(tensor: Tensor) -> Tensor:
    """The full tensor, put together from every process's part; a plain one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def gathered(model: nn.Module, *, skeleton: nn.Module) -> nn.Module:
    """A plain CPU model with a sharded one's weights; `skeleton` is its twin without memory.

    One tensor at a time, and on every process: gathering is collective.
    """
    plain = skeleton.to_empty(device="cpu")
    targets = plain.state_dict()
    for name, tensor in model.state_dict().items():
        targets[name].copy_(whole(tensor))
    return plain
