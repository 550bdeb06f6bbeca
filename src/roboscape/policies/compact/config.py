"""The configuration of the compact policy."""

from dataclasses import dataclass, field

from roboscape.core.errors import UserError
from roboscape.dataset.records import ActionConvention
from roboscape.policies.protocol import PolicySpec


@dataclass(frozen=True, kw_only=True)
class TokensRead:
    """The tokens that a policy reads in place of pixels."""

    encoder_sha256: str = ""
    """Hash of the encoder that makes them; empty: pixels are read."""
    grid: tuple[int, int] = (0, 0)
    """Rows and columns of tokens of one camera's frame."""
    code_bits: int = 0
    """Of a token."""


@dataclass(frozen=True, kw_only=True)
class CompactPolicyConfig:
    """Everything that the shape and the meaning of a compact policy depend on."""

    convention: ActionConvention
    """What the numbers of its actions mean."""
    cameras: tuple[str, ...]
    """Cameras whose images it reads."""
    image_size: int
    """Height and width of the images."""
    tokens: TokensRead = field(default_factory=TokensRead)
    """What is read in place of pixels."""
    state_names: tuple[str, ...] = ()
    """Dimensions of the robot's state that it reads."""
    frame_hz: float = 5.0
    """Frames a second, as far apart as a learned simulator shows them."""
    frames: int = 2
    """Frames that it reads: the newest one and those before it."""
    chunk: int = 16
    """Native actions that it gives at once."""
    executed: int = 8
    """Actions of a chunk that are taken before it is asked again."""
    channels: int = 64
    """Of the image features."""
    keypoints: int = 32
    """Image positions that are read off each frame (spatial softmax)."""
    condition_width: int = 256
    """Size of the vector that conditions the U-Net."""
    unet_channels: tuple[int, ...] = (128, 256)
    """Channels of the U-Net by level; every level halves the chunk."""
    sampling_steps: int = 8
    """Euler steps of the flow from noise to a chunk."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together."""
        if not self.cameras or self.image_size % 4:
            raise UserError(
                "expected at least one camera and an image size that is a multiple of 4, got "
                f"{self.cameras} and {self.image_size}"
            )
        halvings = 2 ** (len(self.unet_channels) - 1)
        if not self.unet_channels or self.chunk % halvings:
            raise UserError(
                f"expected a chunk that {len(self.unet_channels)} U-Net levels can halve, a "
                f"multiple of {halvings}, got {self.chunk}"
            )

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions, for those who run it."""
        return PolicySpec(
            cameras=self.cameras,
            image_size=self.image_size,
            encoder_sha256=self.tokens.encoder_sha256,
            state_names=self.state_names,
            frames=self.frames,
            frame_hz=self.frame_hz,
            action=self.convention,
            chunk=self.chunk,
            executed=self.executed,
        )
