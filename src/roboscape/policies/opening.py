"""Policies by name: a trained policy's folder, or the address of a policy server."""

from pathlib import Path

from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.compact.steps import network_of_step
from roboscape.policies.protocol import Policy


def open_policy(name: str, *, device: str = AUTO) -> Policy:
    """The policy of a name.

    Args:
        name: the folder of a trained compact policy (a run's own folder too), or `RUN@STEP`, a
            checkpoint of a training run.
        device: where it computes.

    Raises:
        ValueError: there is none.
    """
    run, at, step = name.rpartition("@")
    if at and step.isdecimal():
        return CompactPolicy(network_of_step(Path(run), int(step)), device=device)
    folder = Path(name)
    if (folder / "policy" / "config.json").is_file():
        folder = folder / "policy"
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{name} is no trained policy: expected a folder with config.json and "
            "model.safetensors, as `roboscape train policy compact` leaves in its `policy` folder"
        )
    return CompactPolicy.from_pretrained(folder, device=device)
