"""Metric depth as 12-bit codes, exactly as LeRobot (0.6 and later) stores depth videos."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, UInt16

from roboscape.core.errors import UserError

CODE_MAX = 4095
MILLIMETRES_PER_METRE = 1000.0


@dataclass(frozen=True, kw_only=True)
class DepthCodec:
    """Map between metres and codes 0..4095: logarithmic in `depth + shift`, or linear.

    With `shift_m` 0 and 0.1 to 10 m a code step is 0.11 % of the depth everywhere.
    """

    minimum_m: float
    """Depth of code 0; nearer depths are stored as this."""
    maximum_m: float
    """Depth of code 4095; farther depths are stored as this."""
    shift_m: float = 0.0
    """Added before the logarithm."""
    use_log: bool = True
    """Logarithmic codes; otherwise linear."""

    def __post_init__(self) -> None:
        """Refuse a range that has no logarithm or no extent."""
        if not self.minimum_m < self.maximum_m or (
            self.use_log and self.minimum_m + self.shift_m <= 0
        ):
            raise UserError(
                f"a depth range needs minimum < maximum and a positive minimum + shift; got "
                f"{self.minimum_m} to {self.maximum_m} m with shift {self.shift_m} m"
            )

    @cached_property
    def _table_m(self) -> Float32[np.ndarray, " codes"]:
        """The depth that every code stands for."""
        share = np.arange(CODE_MAX + 1) / CODE_MAX
        if not self.use_log:
            return (self.minimum_m + share * (self.maximum_m - self.minimum_m)).astype(np.float32)
        low = np.log(self.minimum_m + self.shift_m)
        high = np.log(self.maximum_m + self.shift_m)
        depth_m = np.exp(low + share * (high - low)) - self.shift_m
        return depth_m.clip(self.minimum_m, self.maximum_m).astype(np.float32)

    def encode(self, depth_m: Float[np.ndarray, "*axes"]) -> UInt16[np.ndarray, "*axes"]:
        """Codes of depths in metres, clipped to the range; NaN is refused."""
        if np.isnan(depth_m).any():
            raise UserError(
                "depth holds NaN, which a depth video cannot store; write missing depth as 0 (it "
                f"is kept as the nearest depth, {self.minimum_m} m) or fill it first"
            )
        clipped_m = depth_m.astype(np.float32).clip(self.minimum_m, self.maximum_m)
        if self.use_log:
            low = np.log(self.minimum_m + self.shift_m)
            high = np.log(self.maximum_m + self.shift_m)
            share = (np.log(clipped_m + np.float32(self.shift_m)) - low) / (high - low)
        else:
            share = (clipped_m - self.minimum_m) / (self.maximum_m - self.minimum_m)
        return np.rint(share * CODE_MAX).clip(0, CODE_MAX).astype(np.uint16)

    def decode(self, codes: UInt16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
        """Depths in metres; inverse of `encode` up to half a code step."""
        return self._table_m[codes]
