"""The identity of a tokenizer: hashes of its weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from roboscape.core.files import sha256_of
from roboscape.core.pretrained import WEIGHTS
from roboscape.tokenizer.model import Tokenizer


def weights_sha256(folder: Path) -> str:
    """Hash of a model's weight file."""
    return sha256_of(folder / WEIGHTS)


def encoder_sha256(folder: Path) -> str:
    """Hash of a tokenizer's encoder; two tokenizers with one hash give the same codes."""
    return _encoder_hash(load_file(folder / WEIGHTS))


def loaded_encoder_sha256(tokenizer: Tokenizer) -> str:
    """The same of a tokenizer in memory."""
    return _encoder_hash(tokenizer.state_dict())


def _encoder_hash(tensors: Mapping[str, Tensor]) -> str:
    """Hash of the encoder's tensors among a tokenizer's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if name.startswith("encoder."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
