"""What metrics compare: videos with depth, in batches."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True)
class Videos:
    """A batch of RGB-D videos at the model's rate. Frame 0 is the one that was given.

    Axes: b clip, t frame, h height, w width.
    """

    rgb: UInt8[np.ndarray, "b t h w 3"]
    depth_m: Float[np.ndarray, "b t h w"]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.rgb)

    def first_frames(self, count: int) -> "Videos":
        """The videos cut to their first `count` frames."""
        return Videos(rgb=self.rgb[:, :count], depth_m=self.depth_m[:, :count])

    def frozen(self) -> "Videos":
        """The static floor: every frame is a copy of frame 0."""
        num_frames = self.rgb.shape[1]
        return Videos(
            rgb=np.repeat(self.rgb[:, :1], num_frames, axis=1),
            depth_m=np.repeat(self.depth_m[:, :1], num_frames, axis=1),
        )
