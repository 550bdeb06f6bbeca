"""Videos of episodes, as their cameras show them."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from roboscape.core.video import write_video
from roboscape.simulators.protocol import Observation


class Filming:
    """Keeps the frames of some episodes while they run, and writes each as a video when it ends."""

    def __init__(self, folder: Path, *, seeds: list[int], fps: float) -> None:
        """Film episodes.

        Args:
            folder: where `<seed>.mp4` goes.
            seeds: of the episodes by number; those beyond are not filmed.
            fps: frames a second.
        """
        self._folder, self._seeds, self._fps = folder, seeds, fps
        self._frames: dict[int, list[UInt8[np.ndarray, "h w 3"]]] = {}

    def watch(self, observation: Observation, numbers: Int[np.ndarray, " b"]) -> None:
        """Keep a frame of each episode that is filmed; all cameras side by side."""
        for world, number in enumerate(numbers.tolist()):
            if 0 <= number < len(self._seeds):
                views = [images[world] for images in observation.rgb.values()]
                self._frames.setdefault(number, []).append(np.concatenate(views, axis=1))

    def finish(self, number: int) -> None:
        """Write the video of an episode that has ended."""
        if frames := self._frames.pop(number, []):
            path = self._folder / f"{self._seeds[number]}.mp4"
            write_video(path, np.stack(frames), fps=self._fps)
