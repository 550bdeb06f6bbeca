"""Settings by dotted name, and what differs between two of them."""

from collections.abc import Collection, Mapping
from typing import Any

LONGEST = 80
"""Characters of a value that a message shows."""
ABSENT = object()


def differences(
    earlier: Mapping[str, Any], asked: Mapping[str, Any], *, ignored: Collection[str] = ()
) -> str:
    """The settings that differ, as a message shows them; empty where none does.

    For example `fit.steps: was 100, now 200; fit.keep_checkpoints: was absent, now 2`. A setting
    that is absent on one side and None on the other does not differ.

    Args:
        earlier: Nested settings, those of what is there already.
        asked: Those that are asked for now.
        ignored: Dotted names of settings that may differ.
    """
    old, new = flatten(earlier), flatten(asked)
    names = [*old, *(name for name in new if name not in old)]
    return "; ".join(
        f"{name}: was {shown(old.get(name, ABSENT))}, now {shown(new.get(name, ABSENT))}"
        for name in names
        if name not in ignored and old.get(name) != new.get(name)
    )


def flatten(content: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; entries of lists of settings by their number."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            value = {str(place): one for place, one in enumerate(value)}
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, prefix=f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def shown(value: object) -> str:
    """A value as a message shows it, a long one in part."""
    text = "absent" if value is ABSENT else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
