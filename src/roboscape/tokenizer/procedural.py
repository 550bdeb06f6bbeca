"""Procedural scenes: frames of moving shapes with depth, to train a tokenizer that no robot limits.

A scene is a ground with 5 to 40 opaque shapes over it. Most rest; some move from frame to frame, as
arms and objects do. Everything follows from the scene's seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from roboscape.core.seeding import numpy_generator_for

OVERSAMPLING = 2
"""Scenes are drawn so many times as large and averaged, so that edges do not alias."""
FEWEST_SHAPES, MOST_SHAPES = 5, 40
NEAREST_M, FARTHEST_M = 0.3, 4.0
_SCENES = 11
"""Keeps these draws apart from others of the same seed."""

Canvas = Float[np.ndarray, "y x 3"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One opaque shape."""

    outline: Float[np.ndarray, "k 2"]
    """Corners around its centre, in parts of the image's side."""
    centre: Float[np.ndarray, "2"]
    motion: Float[np.ndarray, "2"]
    """Of the centre, a frame."""
    turn_rad: float
    """A frame."""
    texture: int
    """Seed of its surface."""
    inverse_depth: float
    """Of its centre, 1/m."""
    tilt: Float[np.ndarray, "2"]
    """Change of the inverse depth across the image's side."""
    shadow: float
    """Darkness of its shadow."""


def scene_frames(
    seed: int, *, frames: int, side: int
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float[np.ndarray, "t h w"]]:
    """The frames of one scene: RGB, and depth along the optical axis in metres."""
    generator = numpy_generator_for(seed, _SCENES)
    large = side * OVERSAMPLING
    ground_seed = int(generator.integers(2**31))
    horizon, slope = generator.uniform(0.2, 0.6), generator.uniform(0.0, 1.5)
    rows = np.linspace(-0.5, 0.5, large)[:, None] * np.ones((1, large))
    ground = np.clip(horizon + slope * rows, 1 / FARTHEST_M, 1 / NEAREST_M)
    count = int(generator.integers(FEWEST_SHAPES, MOST_SHAPES + 1))
    shapes = [random_shape(generator) for _ in range(count)]
    shapes.sort(key=lambda shape: shape.inverse_depth)
    camera = Camera.random(generator)
    pictures = [
        draw(shapes, at=time, ground_seed=ground_seed, ground=ground) for time in range(frames)
    ]
    rgb = np.stack([camera.expose(colours, side=side) for colours, _ in pictures])
    # Depth is one of the samples: a mean over an edge would lie where nothing is.
    inverse = np.stack([depth[::OVERSAMPLING, ::OVERSAMPLING] for _, depth in pictures])
    return rgb, (1 / inverse).astype(np.float32)


def scenes(
    seeds: range, *, frames: int, side: int
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Float[np.ndarray, "t h w"]]]:
    """The frames of many scenes, one scene after the other."""
    for seed in seeds:
        yield scene_frames(seed, frames=frames, side=side)


def random_shape(generator: np.random.Generator) -> Shape:
    """A shape of any size and place; a quarter of them move."""
    size = 0.02 * generator.pareto(1.2) + 0.03
    size = min(size, 0.6)
    moves = generator.random() < 0.25
    speed = generator.exponential(0.06) if moves else 0.0
    angle = generator.uniform(0, 2 * np.pi)
    return Shape(
        outline=random_outline(generator) * size,
        centre=generator.uniform(-0.1, 1.1, 2),
        motion=speed * np.array([np.cos(angle), np.sin(angle)]),
        turn_rad=generator.normal(0, 0.15) if moves else 0.0,
        texture=int(generator.integers(2**31)),
        inverse_depth=generator.uniform(1 / FARTHEST_M, 1 / NEAREST_M),
        tilt=generator.normal(0, 0.5, 2),
        shadow=generator.uniform(0, 0.5) if generator.random() < 0.5 else 0.0,
    )


def random_outline(generator: np.random.Generator) -> Float[np.ndarray, "k 2"]:
    """An ellipse, a box, a polygon or a bar, of unit size around the origin."""
    kind = generator.integers(4)
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == 2:
        angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 8)))
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        corners = corners * generator.uniform(0.5, 1, (len(angles), 1))
    else:
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    thin = generator.uniform(0.03, 0.12) if kind == 3 else generator.uniform(0.3, 1)
    stretch = np.array([2.0 if kind == 3 else 1.0, thin])
    return (corners * stretch) @ rotation(generator.uniform(0, np.pi)).T


def rotation(angle_rad: float) -> Float[np.ndarray, "2 2"]:
    """A rotation in the plane."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, -sine], [sine, cosine]])


def draw(
    shapes: list[Shape], *, at: int, ground_seed: int, ground: Float[np.ndarray, "y x"]
) -> tuple[Canvas, Float[np.ndarray, "y x"]]:
    """Colours in [0, 1] and inverse depth of a scene at a frame; near shapes hide far ones."""
    large = len(ground)
    colours = texture(ground_seed, large, around=np.zeros(2))
    inverse = ground.copy()
    for shape in shapes:
        centre = shape.centre + at * shape.motion
        corners = shape.outline @ rotation(at * shape.turn_rad).T + centre
        if shape.shadow:
            shade = mask_of(corners + 0.02, large).astype(np.float32)
            shade = cv2.GaussianBlur(shade, (0, 0), 0.015 * large)
            colours *= 1 - shape.shadow * shade[..., None]
        inside = mask_of(corners, large)
        if not inside.any():
            continue
        y, x = np.nonzero(inside)
        colours[y, x] = texture(shape.texture, large, around=centre)[y, x]
        offset = np.stack([x, y], axis=1) / large - centre
        inverse[y, x] = np.clip(
            shape.inverse_depth + offset @ shape.tilt, 1 / FARTHEST_M, 1 / NEAREST_M
        )
    return colours, inverse


def mask_of(corners: Float[np.ndarray, "k 2"], large: int) -> np.ndarray:
    """True inside a polygon."""
    mask = np.zeros((large, large), np.uint8)
    cv2.fillPoly(mask, [np.rint(corners * large).astype(np.int32)], (1.0,))
    return mask.astype(bool)


def texture(seed: int, large: int, *, around: Float[np.ndarray, "2"]) -> Canvas:
    """A surface: flat, a gradient, smooth noise or stripes; most colours are near grey.

    It moves with `around`, the place of what it belongs to.
    """
    generator = numpy_generator_for(seed, _SCENES)
    first, second = random_colour(generator), random_colour(generator)
    kind, angle = generator.choice(4, p=[0.4, 0.25, 0.2, 0.15]), generator.uniform(0, np.pi)
    if kind == 0:
        return np.broadcast_to(first, (large, large, 3)).astype(np.float32).copy()
    place = np.linspace(0, 1, large, dtype=np.float32)
    along = np.cos(angle) * (place[None] - around[0]) + np.sin(angle) * (place[:, None] - around[1])
    if kind == 1:
        weight = np.clip(0.5 + along * generator.uniform(0.5, 2), 0, 1)
    elif kind == 2:
        cells = int(generator.integers(4, 33))
        coarse = generator.random((cells, cells), np.float32)
        weight = cv2.resize(coarse, (large, large), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        shift = np.array([[1, 0, around[0] * large], [0, 1, around[1] * large]], np.float32)
        weight = cv2.warpAffine(weight, shift, (large, large), borderMode=cv2.BORDER_WRAP)
    else:
        waves = np.sin(2 * np.pi * along * generator.uniform(3, 40))
        weight = (waves > generator.uniform(-0.5, 0.5)).astype(np.float32)
    return (first + (second - first) * np.asarray(weight)[..., None]).astype(np.float32)


def random_colour(generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Mostly near grey, as most of the world is."""
    level = generator.uniform(0.03, 0.97)
    spread = 0.06 if generator.random() < 0.7 else 0.35
    return np.clip(level + generator.normal(0, spread, 3), 0, 1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The exposure of a scene; the same for all its frames but the noise."""

    gamma: float
    blur_px: float
    noise: float
    seed: int

    @classmethod
    def random(cls, generator: np.random.Generator) -> "Camera":
        """A camera between a sharp, clean one and a poor one."""
        return cls(
            gamma=generator.uniform(0.7, 1.4),
            blur_px=generator.uniform(0, 1.0) if generator.random() < 0.6 else 0.0,
            noise=generator.uniform(0, 0.01),
            seed=int(generator.integers(2**31)),
        )

    def expose(self, colours: Canvas, *, side: int) -> UInt8[np.ndarray, "h w 3"]:
        """Bytes at the final size."""
        small = cv2.resize(colours, (side, side), interpolation=cv2.INTER_AREA).clip(0, 1)
        small = small**self.gamma
        if self.blur_px > 0.2:
            small = cv2.GaussianBlur(small, (0, 0), self.blur_px)
        noise = np.random.default_rng(self.seed).normal(0, self.noise, small.shape)
        return np.rint((small + noise).clip(0, 1) * 255).astype(np.uint8)
