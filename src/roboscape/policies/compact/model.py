"""The network of the compact policy: what it sees becomes a vector, noise becomes a chunk.

Diffusion Policy's form (Chi et al. 2023, arXiv 2303.04137): visual features and states condition a
1-D U-Net over the chunk by scale and shift (FiLM). Two things are smaller: image features are the
positions of keypoints (spatial softmax, Levine et al. 2016), and the chunk is drawn by rectified
flow (Liu et al. 2022) in a few Euler steps.

Axes: b world or sample, t frame, v camera, h height, w width, y and x token, k keypoint, s state
dimension, c action of a chunk, a action dimension, d condition, f feature.
"""

import math
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.core.pretrained import load_model, resolve, save_weights
from roboscape.policies.compact.config import CompactPolicyConfig
from roboscape.tokens.state_reader import TokenFeatures

Shown = UInt8[Tensor, "b t v h w 3"] | Int[Tensor, "b t v y x"]
"""Pixels or tokens of all cameras."""
LEAST_RANGE = 1e-4
"""Numbers whose values in training span less are taken not to vary."""


class CompactPolicyNetwork(nn.Module):
    """From frames and states to the velocity of a chunk in the flow from noise to actions."""

    state_low: Tensor
    state_high: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(self, config: CompactPolicyConfig) -> None:
        super().__init__()
        self.config = config
        states, actions = len(config.state_names), len(config.convention.names)
        self.register_buffer("state_low", -torch.ones(states))
        self.register_buffer("state_high", torch.ones(states))
        self.register_buffer("action_low", -torch.ones(actions))
        self.register_buffer("action_high", torch.ones(actions))
        make_eye = TokenEye if config.tokens.encoder_sha256 else Eye
        eyes = [make_eye(config) for _ in config.cameras]
        self.eyes = nn.ModuleList(eyes)
        seen = config.frames * (sum(eye.size for eye in eyes) + states)
        width = config.condition_width
        self.condition = nn.Sequential(
            nn.Linear(seen, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.time = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width))
        self.unet = ChunkUNet(actions, channels=config.unet_channels, condition=width)

    def encode(
        self,
        images: Shown,
        state: Float[Tensor, "b t s"],
        *,
        colours: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b d"]:
        """The vector that stands for what is to be seen.

        Args:
            images: stored pixels, or tokens (-1: hidden) where it reads these.
            state: in stored units.
            colours: contrast (1: as it is) and light (0: as it is, 1: half of the full range
                brighter) of each sample's images, changed in training; tokens have none.
        """
        frames = images.shape[1]
        if colours is None:
            colours = torch.tensor([[1.0, 0.0]], device=images.device).expand(len(images), 2)
        changed = colours.repeat_interleave(frames, dim=0)
        views = [
            eye(images[:, :, view].flatten(0, 1), changed) for view, eye in enumerate(self.eyes)
        ]
        seen = rearrange(torch.cat(views, dim=-1), "(b t) k -> b (t k)", t=frames)
        known = scaled(state, self.state_low, self.state_high)
        return self.condition(torch.cat([seen, known.flatten(1)], dim=1))

    def velocity(
        self,
        chunk: Float[Tensor, "b c a"],
        time: Float[Tensor, " b"],
        condition: Float[Tensor, "b d"],
    ) -> Float[Tensor, "b c a"]:
        """Direction from noise (time 0) to actions (time 1) at a point between them."""
        mixed = F.gelu(condition + self.time(frequencies(time)))
        return rearrange(self.unet(rearrange(chunk, "b c a -> b a c"), mixed), "b a c -> b c a")

    def normalize(self, actions: Float[Tensor, "b c a"]) -> Float[Tensor, "b c a"]:
        """Stored actions to the range from -1 to 1 of the demonstrations."""
        return scaled(actions, self.action_low, self.action_high)

    def loss(
        self,
        actions: Float[Tensor, "b c a"],
        condition: Float[Tensor, "b d"],
        *,
        noise: Float[Tensor, "b c a"],
        time: Float[Tensor, " b"],
    ) -> Float[Tensor, ""]:
        """Squared error of the velocity at a random point of each path (rectified flow)."""
        true = self.normalize(actions)
        share = time[:, None, None]
        found = self.velocity((1 - share) * noise + share * true, time, condition)
        return F.mse_loss(found.float(), true - noise)

    def draw(
        self, condition: Float[Tensor, "b d"], *, noise: Float[Tensor, "b c a"]
    ) -> Float[Tensor, "b c a"]:
        """The chunk that noise flows to, in stored units, within the demonstrations' range."""
        steps, chunk = self.config.sampling_steps, noise
        for step in range(steps):
            time = torch.full((len(noise),), step / steps, device=noise.device)
            chunk = chunk + self.velocity(chunk, time, condition).float() / steps
        half = (self.action_high - self.action_low) / 2
        return (chunk.clamp(-1, 1) + 1) * half + self.action_low

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "CompactPolicyNetwork":
        """Read what `save_pretrained` wrote: a folder, a bundled policy's name, or a hub's.

        Raises:
            ValueError: there is none, or it is broken.
        """
        return load_model(cls, CompactPolicyConfig, resolve(name))


class Eye(nn.Module):
    """Image positions of learnt keypoints, in one camera's images."""

    def __init__(self, config: CompactPolicyConfig) -> None:
        super().__init__()
        width = config.channels
        self.size = 2 * config.keypoints
        """Numbers that a frame becomes."""
        # No normalisation: the passes over large images would cost as much as the convolutions.
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, config.keypoints, 1),
        )
        self.sharpness = nn.Parameter(torch.zeros(config.keypoints))

    def forward(
        self, images: UInt8[Tensor, "b h w 3"], colours: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b k2"]:
        """Positions between -1 and 1: all x, then all y."""
        contrast, light = colours[:, :, None, None, None].unbind(dim=1)
        gain, offset = contrast / 127.5, light - contrast
        planes = rearrange(images, "b h w c -> b c h w")
        pixels = planes.to(memory_format=torch.channels_last) * gain + offset
        maps = self.layers(pixels).float() * self.sharpness.exp()[:, None, None]
        height, width = maps.shape[2:]
        share = maps.flatten(2).softmax(dim=2).unflatten(2, (height, width))
        x = torch.linspace(-1, 1, width, device=maps.device)
        y = torch.linspace(-1, 1, height, device=maps.device)
        return torch.cat([share.sum(dim=2) @ x, share.sum(dim=3) @ y], dim=1)


class TokenEye(nn.Module):
    """Places and features in the tokens of one camera's frames."""

    def __init__(self, config: CompactPolicyConfig) -> None:
        super().__init__()
        self.read = TokenFeatures(
            grid=config.tokens.grid,
            code_bits=config.tokens.code_bits,
            kinds=1,
            width=config.channels,
            keypoints=config.keypoints,
        )
        self.size = self.read.size
        """Numbers that a frame becomes."""

    def forward(
        self, tokens: Int[Tensor, "b y x"], colours: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b f"]:
        """Features of frames; tokens have no colours that change."""
        return self.read.features(tokens.flatten(1)).float()


class ChunkUNet(nn.Module):
    """A 1-D U-Net over the actions of a chunk."""

    def __init__(self, actions: int, *, channels: tuple[int, ...], condition: int) -> None:
        super().__init__()
        levels = list(zip((actions, *channels[:-1]), channels, strict=True))
        self.down = nn.ModuleList(
            [FilmBlock(before, after, condition=condition) for before, after in levels]
        )
        self.shrink = nn.ModuleList(
            [nn.Conv1d(width, width, 3, stride=2, padding=1) for width in channels[:-1]]
        )
        self.middle = FilmBlock(channels[-1], channels[-1], condition=condition)
        upward = list(zip(channels[::-1], (*channels[-2::-1], channels[0]), strict=True))
        self.up = nn.ModuleList(
            [FilmBlock(2 * before, after, condition=condition) for before, after in upward]
        )
        self.grow = nn.ModuleList(
            [nn.ConvTranspose1d(width, width, 4, stride=2, padding=1) for _, width in upward[:-1]]
        )
        self.out = nn.Conv1d(channels[0], actions, 1)

    def forward(
        self, chunk: Float[Tensor, "b a c"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b a c"]:
        """A chunk of the same shape."""
        kept = []
        for level, block in enumerate(self.down):
            chunk = block(chunk, condition)
            kept.append(chunk)
            if level < len(self.shrink):
                chunk = self.shrink[level](chunk)
        chunk = self.middle(chunk, condition)
        for level, block in enumerate(self.up):
            chunk = block(torch.cat([chunk, kept.pop()], dim=1), condition)
            if level < len(self.grow):
                chunk = self.grow[level](chunk)
        return self.out(chunk)


class FilmBlock(nn.Module):
    """Two convolutions, scaled and shifted by the condition between them, and a way around."""

    def __init__(self, before: int, after: int, *, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, 5, padding=2)
        self.first_norm = nn.GroupNorm(8, after)
        self.film = nn.Linear(condition, 2 * after)
        self.second = nn.Conv1d(after, after, 5, padding=2)
        self.second_norm = nn.GroupNorm(8, after)
        self.around = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(
        self, chunk: Float[Tensor, "b before c"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b after c"]:
        """Features of the same length."""
        scale, shift = self.film(condition).unsqueeze(-1).chunk(2, dim=1)
        hidden = F.gelu(self.first_norm(self.first(chunk)) * (1 + scale) + shift)
        return self.around(chunk) + F.gelu(self.second_norm(self.second(hidden)))


def frequencies(time: Float[Tensor, " b"]) -> Float[Tensor, "b 64"]:
    """Sines and cosines of a time between 0 and 1."""
    scale = torch.exp(torch.linspace(0, math.log(1000), 32, device=time.device))
    angle = time[:, None] * scale
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def scaled(
    values: Float[Tensor, "*n"], low: Float[Tensor, " m"], high: Float[Tensor, " m"]
) -> Float[Tensor, "*n"]:
    """Values to -1 at `low` and 1 at `high`; 0 where the two are equal."""
    span = high - low
    varies = span > LEAST_RANGE
    return torch.where(varies, 2 * (values - low) / torch.where(varies, span, 1.0) - 1, 0.0)
