"""The identity of a tokenizer: the hash of its weights."""

import hashlib
from pathlib import Path

from roboscape.core.pretrained import WEIGHTS


def weights_sha256(folder: Path) -> str:
    """Hash of a model's weight file; two tokenizers with one hash give the same codes."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
