"""Policies by name: a bundled one, a trained policy's folder, or the address of a policy server."""

from pathlib import Path

from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.core.pretrained import BUNDLED
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.compact.steps import policy_of_step
from roboscape.policies.lerobot.environment import lerobot_checkpoint
from roboscape.policies.protocol import Policy
from roboscape.policies.remote.client import RemotePolicy

BUNDLED_POLICIES = ("lift-policy",)
"""Policies that come with the package."""


def is_address(name: str) -> bool:
    """True for the address of a policy server."""
    return name.startswith(("ws://", "wss://"))


def open_policy(name: str, *, device: str = AUTO, described: Path | None = None) -> Policy:
    """The policy of a name.

    Args:
        name: a policy that comes with the package (`lift-policy`), the folder of a trained compact
            policy (a run's own folder too), `RUN@STEP`, a checkpoint of a training run, or the
            address of a policy server, `ws://host:port`.
        device: where it computes; a server's policy computes where the server does.
        described: JSON file that says what a server takes and gives which does not say it itself.

    Raises:
        ValueError: there is none.
    """
    if is_address(name):
        return RemotePolicy(name, described=described)
    if described is not None:
        raise UserError(f"{described} describes a policy server, and {name} is a folder")
    run, at, step = name.rpartition("@")
    if at and step.isdecimal():
        return policy_of_step(Path(run), int(step), device=device)
    return CompactPolicy.from_pretrained(_folder_of(name), device=device)


def _folder_of(name: str) -> Path:
    """The folder of a trained compact policy."""
    bundled = name[:1] not in ("", ".", "/") and (BUNDLED / name / "config.json").is_file()
    folder = BUNDLED / name if bundled else Path(name)
    if lerobot_checkpoint(folder) is not None:
        raise UserError(
            f"{name} is a policy of lerobot's, which runs in lerobot's environment: "
            f"`roboscape serve-policy --policy {name}`, then give ws://127.0.0.1:8000 here"
        )
    if (folder / "policy" / "config.json").is_file():
        folder = folder / "policy"
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{name} is no trained policy: expected a folder with config.json and "
            "model.safetensors, as `roboscape train policy compact` leaves in its `policy` folder, "
            "a policy that comes with the package (lift-policy), or the address of a policy "
            "server, ws://host:port"
        )
    return folder
