"""Configurations: frozen dataclasses, kept as strict JSON beside what they produced."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import dacite

from roboscape.core.errors import UserError
from roboscape.core.files import read_json, write_json

Config = TypeVar("Config")


def save_config(config: Any, path: Path) -> None:
    """Write a configuration as JSON, beside everything that the run produces."""
    write_json(path, asdict(config))


def load_config(kind: type[Config], path: Path) -> Config:
    """Read a configuration back; an unknown or missing key is an error, never a default."""
    return config_from_dict(kind, read_json(path), where=str(path))


def config_from_dict(kind: type[Config], content: dict[str, Any], *, where: str) -> Config:
    """Build a configuration from plain JSON content.

    Raises:
        ValueError: an unknown key, a missing one or a wrong type; the message names `where`.
    """
    try:
        # JSON has no tuples and no paths, and does not distinguish 1 from 1.0.
        return dacite.from_dict(
            kind, content, dacite.Config(strict=True, cast=[Path, tuple, float])
        )
    except dacite.DaciteError as error:
        raise UserError(f"{where} is not a valid {kind.__name__}: {error}") from error
