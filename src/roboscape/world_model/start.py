"""The start of a fine-tuning: what a world model takes over from another, and what begins anew."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from roboscape.core.errors import UserError
from roboscape.core.pretrained import WEIGHTS, read_config, read_shapes
from roboscape.world_model.config import DEPTH, WorldModelConfig
from roboscape.world_model.model import WorldModel

log = logging.getLogger(__name__)

CONTROL_PARTS = ("embedding.control.", "control_field.")
"""Beginnings of the names of those parts of a branch that read the control signal."""
PARTS_OF_SEVERAL_VIEWS = ("embedding.camera", "embedding.missing", "control_field.camera")
"""Ends of the names of what only a model of several cameras has; zeros at first."""
DEPTH_ONLY = (f"branches.{DEPTH}.", "injections.")
"""Beginnings of the names of what a model of RGB alone has not."""
MAY_DIFFER = {"control_size", "max_frames", "branches", "inject_depth", "persistence"}
"""Settings of a shape in which a model may differ from the one that it starts from."""


@dataclass(frozen=True, kw_only=True)
class TakenOver:
    """The result for every tensor, by name: taken over, new or left."""

    kept: tuple[str, ...]
    """Taken over."""
    new: tuple[str, ...]
    """Of the model alone: they begin anew."""
    left: tuple[str, ...]
    """Of the start alone: not taken."""


def start_from(model: WorldModel, folder: Path, *, new_controls: bool) -> TakenOver:
    """Fill a freshly initialised model from the one in a folder, and log what was done.

    What reads the control signal begins anew where `new_controls` is set, and so does a control
    field that the start has not; a model of RGB alone takes the RGB branch of one with depth,
    without what depth injects. All else is taken over.

    Args:
        model: To be trained.
        folder: As `save_pretrained` writes it.
        new_controls: Whether its control signals are others than those of the start's training.

    Raises:
        ValueError: no weights, another shape (the message names the settings, or the first tensor,
            that differ), or a depth branch that the start has not.
    """
    check_shape(model.config, folder)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = read_shapes(folder / WEIGHTS)
    new = tuple(name for name in wanted if begins_anew(name, found, new_controls=new_controls))
    kept = tuple(name for name in wanted if name not in new)
    for name in kept:
        if wanted[name] != found.get(name):
            hint = "; control signals of another size need --new-controls"
            raise UserError(
                f"{folder} does not fit as a start: tensor `{name}` should have shape "
                f"{wanted[name]}, the file has {found.get(name, 'no such tensor')}"
                f"{hint if reads_controls(name) else ''}"
            )
    left = tuple(name for name in found if name not in wanted)
    if unknown := [name for name in left if not name.startswith(DEPTH_ONLY)]:
        raise UserError(
            f"{folder} does not fit as a start: its tensor `{unknown[0]}` is no part of this model"
        )
    weights = load_file(folder / WEIGHTS)
    model.load_state_dict({name: weights[name] for name in kept}, strict=False)
    report(TakenOver(kept=kept, new=new, left=left), model, weights, folder=folder)
    return TakenOver(kept=kept, new=new, left=left)


def check_shape(wanted: WorldModelConfig, folder: Path) -> None:
    """Refuse a start whose settings mean another computation, or that lacks the depth branch."""
    found = read_config(WorldModelConfig, folder)
    old, new = asdict(found), asdict(wanted)
    differ = {name for name in old if old[name] != new[name]} - MAY_DIFFER
    if not found.control_field:
        differ.discard("control_field")
    if found.cameras in (1, wanted.cameras):
        # Each of several views begins as the only one did; names are no part of the computation.
        differ.discard("views")
    if found.time_position == "learned" and found.window != wanted.window:
        # A table of times fits one length of clips.
        differ.add("max_frames")
    if differ:
        shapes = ", ".join(
            f"{name}: {old[name]} there, {new[name]} here" for name in sorted(differ)
        )
        raise UserError(
            f"{folder} does not fit as a start ({shapes}); give --model the start's own shape"
        )
    if wanted.branches == "both" and found.branches == "rgb":
        raise UserError(
            f"{folder} holds no depth branch; start from a model with depth, or train with "
            "--model.branches rgb"
        )
    if wanted.branches == found.branches and wanted.inject_depth != found.inject_depth:
        raise UserError(
            f"{folder} was trained with inject_depth {found.inject_depth}; train with the same"
        )


def reads_controls(name: str) -> bool:
    """True if a tensor belongs to the parts that read the control signal."""
    branches, _, part = (*name.split(".", 2), "", "")[:3]
    return branches == "branches" and part.startswith(CONTROL_PARTS)


def begins_anew(name: str, found: dict[str, tuple[int, ...]], *, new_controls: bool) -> bool:
    """True if a tensor is not taken over: it reads other control signals, or belongs to a control
    field or to further views that the start does not have (which change nothing until trained)."""
    if name not in found and name.endswith(PARTS_OF_SEVERAL_VIEWS):
        return True
    if new_controls:
        return reads_controls(name)
    return ".control_field." in name and name not in found


def report(taken: TakenOver, model: nn.Module, weights: dict[str, Tensor], *, folder: Path) -> None:
    """Log how many weights were taken over, what begins anew and what was left."""
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    log.info(
        "the world model starts from %s: %.2fM weights of %d tensors are taken over",
        folder,
        sum(sizes[name] for name in taken.kept) / 1e6,
        len(taken.kept),
    )
    if taken.new:
        log.info(
            "  begins anew, reading other control signals or not there yet: %s (%.2fM weights)",
            ", ".join(taken.new),
            sum(sizes[name] for name in taken.new) / 1e6,
        )
    if taken.left:
        log.info(
            "  not taken: the depth branch and what it injects into RGB (%.2fM weights of %d "
            "tensors)",
            sum(weights[name].numel() for name in taken.left) / 1e6,
            len(taken.left),
        )
