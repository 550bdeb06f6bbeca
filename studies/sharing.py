"""What several processes that share a study's folder agree on; claims are the package's own."""

from pathlib import Path
from typing import Any

from roboscape.core.claims import claimed, publish
from roboscape.core.files import read_json
from roboscape.core.settings import differences

__all__ = ["agree_on_settings", "claimed", "publish"]


def agree_on_settings(folder: Path, wanted: dict[str, Any]) -> None:
    """All results of a folder are of the same settings.

    Raises:
        ValueError: the folder holds results of others.
    """
    path = folder / "settings.json"
    if not path.is_file():
        publish(path, wanted)
    if different := differences(read_json(path), wanted):
        raise ValueError(
            f"{folder} holds results of other settings ({different}); choose another --output"
        )
