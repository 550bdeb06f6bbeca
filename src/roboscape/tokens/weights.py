"""The identity of a tokenizer: hashes of its weights."""

import hashlib
from pathlib import Path

from safetensors.torch import load_file

from roboscape.core.files import sha256_of
from roboscape.core.pretrained import WEIGHTS


def weights_sha256(folder: Path) -> str:
    """Hash of a model's weight file."""
    return sha256_of(folder / WEIGHTS)


def encoder_sha256(folder: Path) -> str:
    """Hash of a tokenizer's encoder; two tokenizers with one hash give the same codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / WEIGHTS).items()):
        if name.startswith("encoder."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
