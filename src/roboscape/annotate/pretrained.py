"""Weights that others trained: pinned to a revision, looked up locally, never fetched unasked.

A run that fetched gigabytes on its own would surprise its user, and on a cluster every worker at
once. So whatever is missing is a `ValueError` with the command that fetches it.
"""

import importlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from roboscape.core.errors import UserError
from roboscape.core.files import sha256_of

WORKERS_OWN = ("device", "batch_size", "folder")
"""Settings that change how an annotation is made and not what it is: not part of provenance."""


@dataclass(frozen=True, kw_only=True)
class HubWeights:
    """Files of one revision of a model on the Hugging Face hub."""

    repository: str
    revision: str
    """A full commit hash: a branch could change under the provenance."""
    files: tuple[str, ...]
    licence: str
    sha256: str = ""
    """Hash of the last file; where given, the file is checked before it is opened."""

    @property
    def version(self) -> str:
        """Repository and revision, as provenance names them."""
        return f"{self.repository}@{self.revision}"

    @property
    def command(self) -> str:
        """The command that fetches the files."""
        return f"hf download {self.repository} {' '.join(self.files)} --revision {self.revision}"

    def locate(self, folder: Path | None = None) -> Path:
        """The folder that holds the files: the given one, or the hub's cache on this machine.

        Raises:
            ValueError: a file is missing, with the command that fetches it; or it is another one.
        """
        found = folder or self._cached()
        missing = [name for name in self.files if not (found and (found / name).is_file())]
        if found is None or missing:
            where = f"{found} lacks {', '.join(missing)}" if found else "this machine has none"
            raise UserError(
                f"expected the weights of {self.version} ({self.licence}), {where}; fetch them "
                f"with `{self.command}`, then run again"
            )
        if self.sha256 and folder is None:
            check_hash(found / self.files[-1], self.sha256)
        return found

    def _cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.repository, self.files[-1], revision=self.revision)
        return Path(path).parent if isinstance(path, str) else None


def check_hash(path: Path, expected: str) -> None:
    """Raise `UserError` for a file that is not the pinned one.

    Raises:
        ValueError: its SHA-256 differs.
    """
    found = sha256_of(path)
    if found != expected:
        raise UserError(
            f"{path} is not the pinned file: expected SHA-256 {expected}, found {found}; delete it "
            "and fetch it again"
        )


def require(module: str, *, command: str, what: str) -> ModuleType:
    """Import a package that is not a dependency.

    Raises:
        ValueError: it is not installed, or does not import here, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{what} needs the package `{module}`, which cannot be imported here ({error}); "
            f"install it with `{command}`"
        ) from error


def require_extra(module: str, *, what: str) -> ModuleType:
    """Import a package of the optional extra `annotate`."""
    return require(module, command='pip install "roboscape[annotate]"', what=what)


def check_commit(package: str, expected: str, *, command: str) -> None:
    """Raise `UserError` for a package of another commit than the pinned one.

    Raises:
        ValueError: it was; one that does not say where it comes from is taken at its word.
    """
    try:
        origin = importlib.metadata.distribution(package).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return
    found = json.loads(origin).get("vcs_info", {}).get("commit_id") if origin else None
    if found not in (None, expected):
        raise UserError(
            f"the installed {package} is commit {found}, {expected} is expected; `{command}`"
        )


def package_version(package: str) -> str:
    """Name and version of an installed package."""
    return f"{package} {importlib.metadata.version(package)}"


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is the accelerator where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def provenance_settings(annotator: Any) -> dict[str, Any]:
    """The fields of an annotator that decide what it writes, as JSON."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(annotator).items()
        if name not in WORKERS_OWN
    }
