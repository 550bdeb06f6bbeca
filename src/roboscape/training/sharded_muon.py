"""Muon's orthogonalisation of matrices that are spread over processes."""

import torch
import torch.distributed as dist
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from roboscape.training.newton_schulz import orthogonalize


def shard_rows(rows: int, *, size: int) -> list[int]:
    """The number of a matrix's rows that each process holds, as FSDP2 cuts them."""
    each = -(-rows // size)
    return [max(0, min(each, rows - each * rank)) for rank in range(size)]


def orthogonalize_sharded(
    parts: Float[Tensor, "m r c"], *, rows: int, group: ProcessGroup, dtype: torch.dtype
) -> Float[Tensor, "m r c"]:
    """This process's rows of `orthogonalize(whole matrices)`.

    Matrix m belongs to process m modulo the number of processes: it receives the matrix's parts,
    iterates on the whole, and sends everyone their rows back. So no iteration runs twice, and each
    process sends and receives its own share of the weights twice, whatever the number of processes.
    """
    size, rank, columns = group.size(), group.rank(), parts.size(2)
    cut = shard_rows(rows, size=size)
    assert parts.size(1) == cut[rank], f"expected {cut[rank]} rows, got {parts.size(1)}"
    owned = [len(range(owner, len(parts), size)) for owner in range(size)]
    mine = owned[rank]
    # In the order of their owners.
    order = [m for owner in range(size) for m in range(owner, len(parts), size)]
    to_owners = [count * cut[rank] * columns for count in owned]
    from_all = [mine * count * columns for count in cut]
    sent = parts.to(dtype)[order].flatten()
    received = exchange(sent, to_owners, from_all, group=group)
    pieces = [
        rearrange(piece, "(m r c) -> m r c", m=mine, r=count) if piece.numel() else None
        for piece, count in zip(received.split(from_all), cut, strict=True)
    ]
    answers = received
    if mine:
        full = torch.cat([piece for piece in pieces if piece is not None], dim=1)
        orthogonal = orthogonalize(full, dtype=dtype)
        answers = torch.cat([piece.flatten() for piece in orthogonal.split(cut, dim=1)])
    returned = exchange(answers, from_all, to_owners, group=group)
    result = torch.empty_like(parts, dtype=dtype)
    result[order] = returned.reshape(parts.shape)
    return result


def exchange(
    values: Float[Tensor, " n"], sent: list[int], received: list[int], *, group: ProcessGroup
) -> Float[Tensor, " k"]:
    """Give every process its stretch of `values` and take one from each."""
    result = values.new_empty(sum(received))
    dist.all_to_all_single(result, values.contiguous(), received, sent, group=group)
    return result
