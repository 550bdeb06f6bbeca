"""The shape of the world model."""

from dataclasses import dataclass
from typing import Literal

from roboscape.core.errors import UserError
from roboscape.tokenizer.codes import factor_bits

RGB, DEPTH = 0, 1
"""Places of the two modalities on every axis `m`."""


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Shape of the dual-branch co-autoregressive transformer (RoboScape, section 2.3)."""

    control_size: int = 0
    """Numbers in the control signal that leads into a frame; a training run takes it, the grid and
    the code bits from its tokens."""
    num_layers: int = 6
    """Spatial-temporal blocks in each branch (the paper has 32)."""
    width: int = 192
    """Channels of the residual stream; D in the paper."""
    heads: int = 6
    """Attention heads; must divide the width."""
    mlp_ratio: int = 4
    """Hidden channels of the MLP, as a multiple of the width."""
    code_bits: int = 18
    """Bits of a token's code; V in the design."""
    factors: int = 2
    """Groups of bits that the vocabulary is factorised into."""
    grid: tuple[int, int] = (8, 8)
    """Rows and columns of tokens in one view of a frame; H' and W' in the paper."""
    views: tuple[str, ...] = ()
    """Names of the cameras that a frame shows, whose tokens follow each other; attention in space
    runs over all. A training run takes them from its tokens; empty: one camera of any name."""
    patch: int = 1
    """Side, in tokens, of the square of tokens (a patch) that attention treats as one."""
    max_frames: int = 16
    """Frames in a training clip; T in the paper. A longer rollout slides a window that long."""
    branches: Literal["both", "rgb"] = "both"
    """Whether depth is predicted too (`both`, Eq. 2) or RGB alone."""
    inject_depth: bool = True
    """Whether the depth branch's features enter the RGB branch (Eq. 3); needs `both`."""
    time_position: Literal["rotary", "learned"] = "rotary"
    """Position in time: rotary has no end, a learned table (the paper's) ends at `max_frames`."""
    rotary_base: float = 100.0
    """Longest rotary wavelength in frames, divided by 2 pi; a few windows are enough."""
    objective: Literal["next_frame", "masked"] = "next_frame"
    """`next_frame`: a timestep reads the frame before its own, and predicts its own (Eq. 2).
    `masked`: it reads its own frame's tokens, some of them masked (plain MaskGIT, as in Genie)."""
    control_field: int = 0
    """Hidden channels of an MLP that gives every position a control vector of its own, beside the
    one that all share (Eq. 2); 0: none."""
    copy_previous: bool = False
    """Whether logits start from the previous frame's tokens; needs `next_frame`."""
    persistence: float = 0.0
    """Probability, in what is believed of every imagined token, that it is still the given frame's:
    fitted on validation (`rollout/persistence.py`), not trained. Tokens are chosen without it."""

    def __post_init__(self) -> None:
        """Raise `UserError` for sizes that do not fit together."""
        factor_bits(code_bits=self.code_bits, factors=self.factors)
        if self.width % self.heads or self.head_size % 2:
            raise UserError(
                f"width must be an even multiple of heads; got width {self.width} and "
                f"{self.heads} heads. Choose e.g. width {64 * self.heads}"
            )
        if self.patch < 1 or self.grid[0] % self.patch or self.grid[1] % self.patch:
            raise UserError(
                f"patch must divide both sides of the token grid {self.grid}, got {self.patch}"
            )
        if len(set(self.views)) < len(self.views):
            raise UserError(f"expected views of different names, got {self.views}")
        if self.copy_previous and (self.objective != "next_frame" or self.factor_size > 512):
            raise UserError(
                "copy_previous needs objective `next_frame`, which reads the previous frame, "
                f"and factors of 512 entries at most; got `{self.objective}` and {self.factor_size}"
            )
        if not 0 <= self.persistence < 1:
            raise UserError(f"persistence must lie in [0, 1), got {self.persistence}")
        if self.control_field < 0:
            raise UserError(f"control_field must be 0 or more, got {self.control_field}")
        if self.max_frames < 2:
            raise UserError(f"max_frames must be 2 or more to predict one, got {self.max_frames}")

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    @property
    def modalities(self) -> int:
        """2 with depth, 1 without; the size of every axis `m`."""
        return 2 if self.branches == "both" else 1

    @property
    def cameras(self) -> int:
        """Views of a frame."""
        return max(1, len(self.views))

    @property
    def tokens_per_view(self) -> int:
        """Tokens of one view."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens_per_frame(self) -> int:
        """N = H' W', of all views together."""
        return self.frame_grid[0] * self.frame_grid[1]

    @property
    def frame_grid(self) -> tuple[int, int]:
        """Rows and columns of tokens in a frame: its views below each other."""
        return self.cameras * self.grid[0], self.grid[1]

    @property
    def tokens_per_patch(self) -> int:
        """Tokens of one patch."""
        return self.patch**2

    @property
    def patches_per_frame(self) -> int:
        """Patches of a frame: what spatial attention runs over."""
        return self.tokens_per_frame // self.tokens_per_patch

    @property
    def patches_per_view(self) -> int:
        """Patches of one view."""
        return self.patches_per_frame // self.cameras

    @property
    def factor_size(self) -> int:
        """Entries of one factor's table, e.g. 512."""
        return 2 ** (self.code_bits // self.factors)

    @property
    def window(self) -> int:
        """Timesteps that temporal attention reaches over, its own included.

        Under `next_frame` the first frame has no timestep of its own.
        """
        return self.max_frames - 1 if self.objective == "next_frame" else self.max_frames
