"""The identity of a checkpoint: one hash of all that decides what it imagines."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.files import sha256_of
from roboscape.core.pretrained import CONFIG, WEIGHTS, resolve
from roboscape.rollout.bundle import STATE_READER

DECIDING = (WEIGHTS, CONFIG, "controls.json")
"""Names of the files that decide what a bundle imagines, in its folders."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A bundle, as records of what it imagined name it."""

    name: str
    """Name, folder or hub name, as it was asked for."""
    sha256: str
    """Of what decides what it imagines (`checkpoint_sha256`)."""

    @classmethod
    def of(cls, name: str) -> "Checkpoint":
        """The bundle of a name, folder or hub name."""
        return cls(name=name, sha256=checkpoint_sha256(name))


def checkpoint_sha256(name: str | Path) -> str:
    """SHA-256 over a bundle's weights and configurations, by their places in it."""
    folder = resolve(name)
    digest = hashlib.sha256()
    for path in deciding_files(folder):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def deciding_files(folder: Path) -> list[Path]:
    """The files of a bundle's folder that decide what it imagines, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        # The state reader reads frames, and imagines nothing.
        if path.name in DECIDING and path.parent.name != STATE_READER
    )
