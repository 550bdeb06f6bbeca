"""The judge by classifier: success from the last frames' RGB and depth."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from roboscape.judge.network import SEEN_FROM, SuccessNetwork, shrunk
from roboscape.judge.protocol import Verdict, VerdictCounts
from roboscape.judge.rule import check_camera
from roboscape.simulators.protocol import Mask, Observation


class ClassifierJudge:
    """Keeps the frames that are read of every world and gives a calibrated verdict; a `Judge`.

    A batch that changes its size (a fork) begins with one frame a world, the present one.
    """

    def __init__(self, network: SuccessNetwork) -> None:
        self.network, self.config = network, network.config
        self.camera = network.config.camera
        self.counts = VerdictCounts()
        self._past: UInt8[np.ndarray, "b k c h w"] | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path = "lift-judge") -> "ClassifierJudge":
        """Load a trained one: bundled, a folder, or a hub repository."""
        return cls(SuccessNetwork.from_pretrained(name))

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Forget the frames of the chosen worlds; their first frame stands for those before it.

        Raises:
            ValueError: another camera or image size than in training.
        """
        images = self._images(observation)
        repeated = self._repeated(images)
        if self._past is None or len(self._past) != len(images):
            self._past = repeated
        else:
            self._past = np.where(
                np.asarray(where)[:, None, None, None, None], repeated, self._past
            )

    def verdict(self, observation: Observation) -> Verdict:
        """The finding about the newest frame; called once a frame.

        Raises:
            ValueError: another camera or image size than in training.
        """
        images = self._images(observation)
        if self._past is None or len(self._past) != len(images):
            self._past = self._repeated(images)
        else:
            first = int(self.config.reads_first)
            kept = np.delete(self._past, first, axis=1)
            self._past = np.concatenate([kept, images[:, None]], axis=1)
        probability, seen = self.network.probabilities(self._past)
        unknown = seen < SEEN_FROM
        success = (probability >= self.config.threshold) & ~unknown
        return self.counts.add(
            Verdict(
                success=success,
                unknown=unknown,
                probability=np.where(unknown, np.nan, probability),
            )
        )

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the task is solved in this frame."""
        return self.verdict(observation).success

    def _repeated(self, images: UInt8[np.ndarray, "b c h w"]) -> UInt8[np.ndarray, "b k c h w"]:
        """One frame a world in the place of all that are read."""
        return np.repeat(images[:, None], self.config.images_read, axis=1)

    def _images(self, observation: Observation) -> UInt8[np.ndarray, "b c h w"]:
        check_camera(self.camera, observation, needs_depth=True)
        return shrunk(
            observation.rgb[self.camera], observation.depth_m[self.camera], config=self.config
        )
