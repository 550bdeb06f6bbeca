"""The words of a task as a vector: hashed words, so that no text is unknown.

Feature hashing (Weinberger et al. 2009): every word and every pair of neighbours adds a sign at one
place, both by a hash. Nothing is trained or fetched, and texts that share words share a part.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import torch
from jaxtyping import Float32
from torch import Tensor


def task_vectors(texts: Sequence[str], *, size: int) -> Float32[Tensor, "b size"]:
    """One vector of length 1 a text; zeros where the text is empty."""
    return torch.tensor([_task_vector(text, size) for text in texts]).reshape(len(texts), size)


@lru_cache(maxsize=4096)
def _task_vector(text: str, size: int) -> tuple[float, ...]:
    """The vector of one text; runs meet the same few again and again."""
    words = re.findall(r"\w+", text.lower())
    vector = torch.zeros(size)
    for feature in [*words, *map(" ".join, pairwise(words))]:
        number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
        vector[number // 2 % size] += 1 if number % 2 else -1
    return tuple(torch.nn.functional.normalize(vector, dim=0).tolist())
