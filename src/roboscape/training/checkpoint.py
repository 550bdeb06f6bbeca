"""Checkpoints of a running training: whole or absent, and enough to go on bit for bit."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roboscape.core.files import atomic_path, read_json, remove, write_json

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TrainingState:
    """The stateful things of a run, named once."""

    model: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Optimiser steps done. All randomness follows from it."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything, flat: `model/...`, `average/...`, `optimizer/<parameter>/<slot>`."""
        flat = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            flat |= {f"average/{name}": t for name, t in self.average.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer/{index}/{name}": tensor for name, tensor in slots.items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in flat.items()}

    def restore(self, tensors: dict[str, Tensor], *, step: int) -> None:
        """Inverse of `tensors`."""
        self.model.load_state_dict(below(tensors, "model/"))
        if self.average is not None:
            self.average.load_state_dict(below(tensors, "average/"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in below(tensors, "optimizer/").items():
            index, slot = name.split("/", 1)
            slots.setdefault(int(index), {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.step = step


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {k.removeprefix(prefix): tensor for k, tensor in tensors.items() if k.startswith(prefix)}


def save_checkpoint(state: TrainingState, folder: Path, *, keep: int = 2) -> Path:
    """Write `folder/step_<step>`, complete or not at all, and drop all but the newest `keep`."""
    path = folder / f"step_{state.step:08d}"
    with atomic_path(path) as temporary:
        temporary.mkdir(parents=True)
        save_file(state.tensors(), temporary / "state.safetensors")
        write_json(temporary / "state.json", {"step": state.step})
    for old in checkpoints(folder)[:-keep]:
        remove(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step_*")) if folder.is_dir() else []


def load_latest(state: TrainingState, folder: Path) -> bool:
    """Restore the newest readable checkpoint; False where there is none.

    A checkpoint that cannot be read (a disk fault: a kill cannot cause it) is reported and the one
    before it is taken.
    """
    for path in reversed(checkpoints(folder)):
        try:
            tensors = load_file(path / "state.safetensors")
        except (SafetensorError, FileNotFoundError) as error:
            log.warning("%s is damaged (%s); going back to the checkpoint before it", path, error)
            continue
        content: dict[str, Any] = read_json(path / "state.json")
        state.restore(tensors, step=content["step"])
        return True
    return False
