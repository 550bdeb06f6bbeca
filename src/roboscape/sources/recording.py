"""Recording a simulation row by row."""

from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.dataset.records import Episode
from roboscape.sources.simulation import SceneRenderer
from roboscape.sources.true_tracks import TrackRecorder


class Recording:
    """An episode in the making, seen by one camera."""

    def __init__(
        self,
        model: Any,
        *,
        renderer: SceneRenderer,
        camera: str,
        generator: np.random.Generator,
    ) -> None:
        self._renderer = renderer
        self._camera = camera
        self._generator = generator
        self._tracks = TrackRecorder(model, renderer)
        self._frames, self._depths_m = [], []
        self._actions, self._states, self._rewards = [], [], []

    def add(
        self,
        data: Any,
        *,
        action: Float[np.ndarray, " a"],
        state: Float[np.ndarray, " s"],
        solved: bool,
    ) -> None:
        """Record a row: what is to be seen now, and the action that will be taken now."""
        rgb, depth_m = self._renderer.render(data)
        if self._frames:
            self._tracks.record(data, depth_m)
        else:
            self._tracks.start(data, depth_m, generator=self._generator)
        self._frames.append(rgb)
        self._depths_m.append(depth_m)
        self._actions.append(action)
        self._states.append(state)
        self._rewards.append(solved)

    def episode(self, *, task: str, seed: int, behaviour: str) -> Episode:
        """What was recorded.

        `reward` is 1 in every row that shows the task solved, and `success` says whether there is
        such a row.
        """
        return Episode(
            frames={self._camera: np.stack(self._frames)},
            depth_m={self._camera: np.stack(self._depths_m)},
            actions=np.stack(self._actions).astype(np.float32),
            state=np.stack(self._states).astype(np.float32),
            reward=np.array(self._rewards, np.float32),
            task=task,
            success=any(self._rewards),
            seed=seed,
            behaviour=behaviour,
            tracks={self._camera: self._tracks.finish()},
        )
