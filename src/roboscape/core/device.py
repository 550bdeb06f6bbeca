"""The device that a command computes on."""

import torch

from roboscape.core.errors import UserError

AUTO = "auto"


def resolve_device(device: str = AUTO) -> str:
    """The device that a setting names: `auto` is `cuda` where there is a usable GPU, else `cpu`.

    Raises:
        ValueError: the setting names no device, or CUDA where this machine offers none.
    """
    if device == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UserError(f"expected device auto, cpu or cuda, got {device!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device {device!r} was asked for and this machine offers no CUDA GPU to torch; use "
            "--device cpu, or auto"
        )
    return device
