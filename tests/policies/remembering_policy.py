"""A policy without a network: its actions say what it was shown, and when."""

from dataclasses import replace

import numpy as np

from roboscape.policies.protocol import PolicySpec
from tests.simulators.counting_simulator import SPEC


class RememberingPolicy:
    """Action number i of a chunk is (seed's random number, 1000 * age shown + i)."""

    def __init__(self, *, chunk=6, executed=3, frames=2, action_hz=15.0, cameras=("front",)):
        self.spec = PolicySpec(
            cameras=cameras,
            state_names=("age",),
            frames=frames,
            frame_hz=5.0,
            action=replace(SPEC.action, action_hz=action_hz),
            chunk=chunk,
            executed=executed,
        )
        self.shown = []
        self.noise = []

    def reset(self, seeds, *, where=None):
        new = [np.random.default_rng(seed) for seed in seeds]
        if where is None:
            self.noise = new
            return
        for world, generator in zip(np.flatnonzero(where), new, strict=True):
            self.noise[world] = generator

    def act(self, observed, *, worlds):
        self.shown.append((worlds.tolist(), observed))
        ages = observed.state[:, -1, 0]
        count = np.arange(self.spec.chunk)
        return np.stack(
            [
                np.stack([np.full(len(count), self.noise[w].random()), 1000 * age + count], axis=1)
                for w, age in zip(worlds, ages, strict=True)
            ]
        )

    def close(self):
        pass
