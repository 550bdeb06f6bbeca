"""Files of a package of the npm registry, of one pinned version."""

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NpmPackage:
    """A package, pinned by its digest."""

    name: str
    version: str
    integrity: str
    """As the registry states it: `sha512-` and the digest of the archive in base 64."""
    license: str
    """The licence's text."""


def archive_of(package: NpmPackage, *, archive: Path | None = None) -> bytes:
    """The package's archive: a file that is already here, or fetched by `npm pack`.

    Raises:
        ValueError: there is no npm, it fails, or the archive is not the pinned one.
    """
    if archive is not None:
        if not archive.is_file():
            raise UserError(f"expected the archive of {package.name} at {archive}, found none")
        return checked(archive.read_bytes(), package)
    if shutil.which("npm") is None:
        raise UserError(
            f"expected npm, which fetches {package.name}@{package.version}, and found none; "
            "install it, or pass an archive that was fetched elsewhere: --runtime-archive"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["npm", "pack", f"{package.name}@{package.version}", "--pack-destination", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            raise UserError(
                f"npm could not fetch {package.name}@{package.version}: {done.stderr[-500:]}\n"
                "Try again, or pass an archive that was fetched elsewhere: --runtime-archive"
            )
        return checked(found[0].read_bytes(), package)


def checked(archive: bytes, package: NpmPackage) -> bytes:
    """The archive itself, if it is the pinned one.

    Raises:
        ValueError: it is another.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != package.integrity:
        raise UserError(
            f"expected {package.name}@{package.version} with integrity {package.integrity}, got "
            f"{found}; fetch it again"
        )
    return archive


def file_of(archive: bytes, name: str) -> bytes:
    """One file of an archive of the registry, by its place in the package.

    Raises:
        KeyError: there is none.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        file = content.extractfile(f"package/{name}")
        assert file is not None
        return file.read()
