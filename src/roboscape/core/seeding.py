"""Randomness derived from coordinates, never stored: that makes every run resumable exactly."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_for(*coordinates: int) -> int:
    """A 63-bit seed for one place in a run, for example (seed, rank, step)."""
    (state,) = np.random.SeedSequence(coordinates).generate_state(1, np.uint64)
    return int(state) % 2**63


def generator_for(*coordinates: int, device: str = "cpu") -> "torch.Generator":
    """PyTorch random numbers for one place in a run, for example (seed, rank, step)."""
    # Simulating processes need NumPy's numbers only, and start in half the time without torch.
    import torch

    return torch.Generator(device).manual_seed(seed_for(*coordinates))


def numpy_generator_for(*coordinates: int) -> np.random.Generator:
    """NumPy random numbers for one place in a run, for example (seed, episode)."""
    return np.random.default_rng(np.random.SeedSequence(coordinates))
