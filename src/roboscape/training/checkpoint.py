"""Checkpoints of a running training: whole or absent, and enough to go on bit for bit.

A model that every process holds whole is one safetensors file. A sharded one is written by all
processes at once (`torch.distributed.checkpoint`). Either is read by any number of processes.
"""

import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, flush_to_disk, read_json, remove, write_json
from roboscape.core.precision import Format, Kind
from roboscape.training.optimizer import MuonAdamW
from roboscape.training.parallel import ONE_RANK, Ranks

log = logging.getLogger(__name__)

WHOLE, SHARDED, STATE = "state.safetensors", ".metadata", "state.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The best validation so far."""

    value: float
    """Of the figure that decides."""
    step: int
    """Optimiser steps done then."""
    waited: int = 0
    """Validations since."""


@dataclass(kw_only=True)
class TrainingState:
    """The stateful things of a run, named once."""

    model: nn.Module
    average: nn.Module | None
    optimizer: MuonAdamW
    best: nn.Module | None = None
    """Weights of the best validation so far; None where the last ones are released."""
    record: Record | None = None
    """That validation; None before the first."""
    step: int = 0
    """Optimiser steps done. All randomness follows from it."""
    saved_step: int | None = None
    """Step of the newest checkpoint on disk."""
    ranks: Ranks = field(default=ONE_RANK)
    formats: Mapping[Kind, Format] = field(default_factory=dict)
    """Number formats that the run computes in; written into every checkpoint."""

    def entries(self) -> dict[str, Tensor]:
        """Everything, flat: `model/...`, `average/...`, `best/...`,
        `optimizer/<parameter>/<slot>`."""
        flat: dict[str, Tensor] = {}
        for kind, module in self.modules().items():
            flat |= {f"{kind}/{name}": tensor for name, tensor in module.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer/{index}/{name}": tensor for name, tensor in slots.items()}
        return {name: tensor.detach() for name, tensor in flat.items()}

    def modules(self) -> dict[str, nn.Module]:
        """The modules that there are, by what they are called in a checkpoint."""
        found = {"model": self.model, "average": self.average, "best": self.best}
        return {kind: module for kind, module in found.items() if module is not None}

    def tensors(self) -> dict[str, Tensor]:
        """The same on the CPU, of a state that is not sharded."""
        return {name: tensor.cpu().contiguous() for name, tensor in self.entries().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for kind, module in self.modules().items():
            module.load_state_dict(below(tensors, f"{kind}/"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in below(tensors, "optimizer/").items():
            index, slot = name.split("/", 1)
            slots.setdefault(int(index), {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})

    def facts(self) -> dict[str, Any]:
        """The facts that a checkpoint holds besides tensors."""
        best = {} if self.record is None else {"best": asdict(self.record)}
        return {"step": self.step, "formats": dict(self.formats)} | best

    def room_for(self, names: set[str]) -> dict[str, Tensor]:
        """The tensors to fill from a checkpoint with these names, which may be of a later step."""
        self.optimizer.fill_slots()
        for index, slots in self.optimizer.state_dict()["state"].items():
            for name in [name for name in slots if f"optimizer/{index}/{name}" not in names]:
                del slots[name]
        wanted = self.entries()
        if wanted.keys() != names:
            raise UserError(
                f"the checkpoint and this run differ in {sorted(wanted.keys() ^ names)[:3]}; "
                "resume with the model and optimiser that it was saved with"
            )
        return wanted


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {k.removeprefix(prefix): tensor for k, tensor in tensors.items() if k.startswith(prefix)}


def save_checkpoint(state: TrainingState, folder: Path, *, keep: int = 2) -> Path:
    """Write `folder/step_<step>`, complete or not at all, and drop all but the newest `keep`."""
    path = folder / f"step_{state.step:08d}"
    if state.saved_step == state.step:
        # Writing it once more would leave a moment without it.
        return path
    if state.ranks.parallel == "fsdp":
        save_sharded(state, path)
    elif state.ranks.is_main:
        with atomic_path(path) as temporary:
            temporary.mkdir(parents=True)
            save_file(state.tensors(), temporary / WHOLE)
            flush_to_disk(temporary / WHOLE)
            write_json(temporary / STATE, state.facts())
    state.saved_step = state.step
    if state.ranks.is_main:
        for old in checkpoints(folder)[:-keep]:
            retire(old)
    return path


def save_sharded(state: TrainingState, path: Path) -> None:
    """Every process writes its own part; the last to finish makes it a checkpoint, by renaming."""
    temporary = path.with_name(f".{path.name}.tmp")
    if state.ranks.is_main:
        remove(temporary)
        temporary.mkdir(parents=True)
    state.ranks.wait()
    dcp.save(state.entries(), checkpoint_id=temporary)
    if state.ranks.is_main:
        write_json(temporary / STATE, state.facts())
        if path.is_dir():
            retire(path)
        temporary.replace(path)
    state.ranks.wait()


def retire(path: Path) -> None:
    """Delete a checkpoint: first its name, for a kill half-way must leave no half checkpoint."""
    retired = path.with_name(f".{path.name}.retired.tmp")
    path.replace(retired)
    remove(retired)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step_*")) if folder.is_dir() else []


def saved_formats(folder: Path) -> dict[Kind, Format]:
    """The number formats of the newest readable checkpoint; empty where there is none."""
    newest = newest_whole(folder)
    return read_json(newest / STATE).get("formats", {}) if newest else {}


def load_latest(state: TrainingState, folder: Path) -> bool:
    """Restore the newest readable checkpoint; False where there is none.

    A checkpoint that cannot be read (a disk fault: a kill cannot cause it) is reported and the one
    before it is taken. Half-written ones of a killed run are removed.
    """
    newest = None
    if state.ranks.is_main:
        for leftover in folder.glob(".step_*.tmp*"):
            remove(leftover)
        newest = newest_whole(folder)
    newest = state.ranks.share(newest)
    if newest is None:
        return False
    if (newest / SHARDED).is_file():
        load_sharded(state, newest)
    elif state.ranks.parallel == "fsdp":
        shard_whole(load_file(newest / WHOLE), state)
    else:
        state.restore(load_file(newest / WHOLE))
    facts = read_json(newest / STATE)
    state.step = state.saved_step = facts["step"]
    state.record = Record(**facts["best"]) if "best" in facts else None
    return True


def load_sharded(state: TrainingState, path: Path) -> None:
    """Read what this process needs of a checkpoint that any number of processes wrote."""
    names = set(dcp.FileSystemReader(path).read_metadata().state_dict_metadata)
    alone = not dist.is_initialized()
    dcp.load(state.room_for(names), checkpoint_id=path, no_dist=alone)


@torch.no_grad()
def shard_whole(tensors: dict[str, Tensor], state: TrainingState) -> None:
    """Give every process its part of whole tensors."""
    for name, target in state.room_for(set(tensors)).items():
        source = tensors[name].to(target.device)
        if isinstance(target, DTensor):
            # Everyone has read the file: nothing needs sending.
            source = distribute_tensor(
                source, target.device_mesh, target.placements, src_data_rank=None
            )
        target.copy_(source)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that can be read, if there is one."""
    return next(filter(is_whole, reversed(checkpoints(folder))), None)


def is_whole(path: Path) -> bool:
    """True if a checkpoint can be read; one that cannot is reported."""
    try:
        read_json(path / STATE)
        if (path / SHARDED).is_file():
            check_files(path)
        else:
            with safe_open(path / WHOLE, framework="pt"):
                pass
    except (SafetensorError, pickle.UnpicklingError, OSError, EOFError, ValueError) as error:
        log.warning("%s is damaged (%s); going back to the checkpoint before it", path, error)
        return False
    return True


def check_files(path: Path) -> None:
    """Raise `OSError` where a part of a sharded checkpoint is missing or short."""
    places = dcp.FileSystemReader(path).read_metadata().storage_data
    for place in (places or {}).values():
        file = path / place.relative_path
        if file.stat().st_size < place.offset + place.length:
            raise OSError(f"{file.name} is shorter than its contents")
