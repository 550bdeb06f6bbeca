"""The judge by tokens: where a bundle's object reader sees Lift's cube, without any pixels."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float

from roboscape.core.errors import UserError
from roboscape.judge.protocol import Verdict, VerdictCounts
from roboscape.simulators.protocol import Mask, Observation, WorldSpec
from roboscape.tokens.state_reader import StateReader

HEIGHT = "cube_z"
"""The number of an object reader that says how high Lift's cube is, in metres."""
RISE_M = 0.06
"""A cube that is so much higher than in the first frame of its episode was lifted."""


class TokenJudge:
    """Success where the cube's height, read off tokens, has risen; a `Judge`.

    It reads tokens alone, so imagined frames that are to be judged need not be decoded. What it
    cannot say is that a cube is not to be seen: nothing is unknown to it.
    """

    def __init__(self, reader: StateReader, *, spec: WorldSpec) -> None:
        """Take an object reader.

        Args:
            reader: of the bundle that imagines.
            spec: of its worlds.

        Raises:
            ValueError: the reader does not say how high the cube is, or reads other tokens than
                these worlds have.
        """
        names = reader.config.state_names
        if HEIGHT not in names:
            raise UserError(
                f"the judge by tokens needs an object reader of {HEIGHT}, and this one reads "
                f"{', '.join(names)}; use another kind of judge"
            )
        if reader.config.encoder_sha256 != spec.encoder_sha256:
            raise UserError(
                "the judge by tokens reads those of another encoder than these worlds are imagined "
                "in (a true simulator has none); use another kind of judge"
            )
        self.counts = VerdictCounts()
        self._reader, self._column = reader, names.index(HEIGHT)
        self._cameras = [camera.name for camera in spec.cameras]
        self._first_m = np.full(0, np.nan)

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Remember how high the cubes of the chosen worlds lie in their first frame."""
        heights_m = self.heights_m(observation)
        if len(self._first_m) != len(heights_m):
            self._first_m = np.full(len(heights_m), np.nan)
        self._first_m = np.where(where, heights_m, self._first_m)

    def verdict(self, observation: Observation) -> Verdict:
        """Success where the cube is higher than it was.

        Raises:
            ValueError: a world that was never reset.
        """
        heights_m = self.heights_m(observation)
        if len(self._first_m) != len(heights_m) or np.isnan(self._first_m).any():
            raise UserError("a world was never reset; call `reset` with its first frame")
        success = heights_m - self._first_m > RISE_M
        unknown = np.zeros(len(success), bool)
        return self.counts.add(
            Verdict(success=success, unknown=unknown, probability=success.astype(np.float64))
        )

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the task is solved in this frame."""
        return self.verdict(observation).success

    def heights_m(self, observation: Observation) -> Float[np.ndarray, " b"]:
        """How high the cube is in every world, in the recordings' frame.

        Raises:
            ValueError: the observation holds no tokens.
        """
        if missing := [name for name in self._cameras if name not in observation.tokens]:
            raise UserError(
                f"the judge reads tokens, and the observation holds none of {', '.join(missing)}; "
                "it is for worlds that a bundle imagines"
            )
        views = [torch.from_numpy(observation.tokens[name]) for name in self._cameras]
        tokens = rearrange(torch.cat(views, dim=2), "b m y x -> m b (y x)")
        tokens = tokens.to(next(self._reader.parameters()).device)
        found = self._reader.read(tokens[0], tokens[1] if len(tokens) > 1 else None)
        return found[:, self._column].astype(np.float64)
