"""Terms that a tokenizer's loss could have besides its own; what wins moves to `roboscape`."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from roboscape.core.seeding import generator_for, seed_for
from roboscape.tokenizer.model import Reconstruction, Tokenizer

STILL = 4 / 127.5
"""Pixels that differ by no more than this, of a range of two, stand still: 4 of 255 levels.

Video coding moves a pixel at rest by up to 3 levels; what really moves changes by 10 and more.
"""
MOVED = 10 / 127.5
"""Pixels that differ by more than this moved: 10 of 255 levels."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a term may look at."""

    tokenizer: Tokenizer
    images: Float[Tensor, "b 3 h w"]
    before: Callable[[], Float[Tensor, "b 3 h w"]]
    """The frames before them; a frame itself where it is an episode's first."""
    result: Reconstruction
    vectors: Float[Tensor, "b n v"]
    """Before quantisation."""
    loss: Float[Tensor, ""]
    """All terms of the tokenizer's own loss."""
    share: float
    """How much of the run is behind, 0 to 1."""


Term = Callable[[Seen], Float[Tensor, ""]]
"""A weighted term to add to the loss."""
MakeTerm = Callable[[int], Term]
"""From a seed to a term, which may hold a network of its own."""


def dilated(mask: Bool[Tensor, "b 1 h w"], *, pixels: int) -> Bool[Tensor, "b 1 h w"]:
    """The mask and all within so many pixels of it."""
    size = 2 * pixels + 1
    return F.max_pool2d(mask.float(), size, stride=1, padding=pixels) > 0


def moved_pixels(
    images: Float[Tensor, "b 3 h w"], before: Float[Tensor, "b 3 h w"]
) -> Bool[Tensor, "b 1 h w"]:
    """Where something moved since the frame before, and the pixels around."""
    difference = (images - before).abs().amax(dim=1, keepdim=True)
    return dilated(difference > MOVED, pixels=1)


def still_tokens(
    images: Float[Tensor, "b 3 h w"], before: Float[Tensor, "b 3 h w"], *, patch: int
) -> Bool[Tensor, "b n"]:
    """Tokens none of whose own pixels moved since the frame before."""
    difference = (images - before).abs().amax(dim=1, keepdim=True)
    return rearrange(F.max_pool2d(difference, patch) <= STILL, "b 1 h w -> b (h w)")


def with_grain(
    images: Float[Tensor, "b 3 h w"], *, levels: float, seeds: tuple[int, ...]
) -> Float[Tensor, "b 3 h w"]:
    """Images with noise of so many of 255 levels, as a camera adds to every frame anew."""
    noise = torch.randn(images.shape, generator=generator_for(*seeds))
    return images + noise * (levels / 127.5)


def gradients(images: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
    """Differences of neighbours, down and across."""
    return images[:, :, 1:] - images[:, :, :-1], images[..., 1:] - images[..., :-1]


def edge_term(weight: float) -> MakeTerm:
    """Absolute error of the images' gradients: contours count, shades do not."""

    def term(seen: Seen) -> Tensor:
        down, across = gradients(seen.result.images - seen.images)
        return weight * (down.abs().mean() + across.abs().mean())

    return lambda _: term


def moving_term(weight: float) -> MakeTerm:
    """Pixels in motion count so much more in the reconstruction."""

    def term(seen: Seen) -> Tensor:
        error = seen.result.images - seen.images
        moved = moved_pixels(seen.images, seen.before())
        return weight * (moved * (error.square() + 0.3 * error.abs())).mean()

    return lambda _: term


def similarity_term(weight: float) -> MakeTerm:
    """One minus the structural similarity in windows of 7 pixels (Wang et al. 2004)."""

    def mean(images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 7, stride=2)

    def term(seen: Seen) -> Tensor:
        a, b = seen.result.images, seen.images
        mean_a, mean_b = mean(a), mean(b)
        variance = mean(a * a) - mean_a.square() + mean(b * b) - mean_b.square()
        covariance = mean(a * b) - mean_a * mean_b
        c1, c2 = (2 * 0.01) ** 2, (2 * 0.03) ** 2
        same_mean = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
        return weight * (1 - same_mean * (2 * covariance + c2) / (variance + c2)).mean()

    return lambda _: term


def flicker_term(weight: float) -> MakeTerm:
    """Vectors of tokens at rest stay where they were in the frame before."""

    def term(seen: Seen) -> Tensor:
        before, config = seen.before(), seen.tokenizer.config
        still = still_tokens(seen.images, before, patch=config.downsampling)
        now, then = (
            on_the_sphere(vectors, groups=config.code_groups)
            for vectors in (seen.vectors, seen.tokenizer.encoder(before))
        )
        moved = (now - then).square().mean(dim=-1)
        return weight * (moved * still).mean()

    return lambda _: term


def on_the_sphere(vectors: Float[Tensor, "b n v"], *, groups: int) -> Float[Tensor, "b n v"]:
    """Vectors as the quantiser compares them: every group of dimensions of length one."""
    split = rearrange(vectors.float(), "b n (g d) -> b n g d", g=groups)
    return rearrange(F.normalize(split, dim=-1), "b n g d -> b n (g d)")


def random_features_term(weight: float) -> MakeTerm:
    """Relative error of the features of a small fixed network of random weights.

    No pretrained network is at hand, so this is the form of a perceptual loss without its content.
    """

    def make(seed: int) -> Term:
        sizes, generator = (3, 16, 32, 64), torch.Generator().manual_seed(seed_for(seed, 1))
        layers = nn.ModuleList(
            nn.Conv2d(few, many, 3, stride=1 if few == 3 else 2, padding=1)
            for few, many in pairwise(sizes)
        ).requires_grad_(requires_grad=False)
        for layer in layers:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, generator=generator)

        def term(seen: Seen) -> Tensor:
            a, b = seen.result.images, seen.images
            errors = []
            for layer in layers:
                a, b = F.relu(layer(a)), F.relu(layer(b))
                errors.append((a - b).abs().mean() / b.abs().mean())
            return weight * torch.stack(errors).mean()

        return term

    return make


def adversarial_term(weight: float, *, start: float) -> MakeTerm:
    """What fools a discriminator of patches, from `start` of the run on; both by the hinge loss.

    The weight is relative to the other terms' gradient at the last layer (VQGAN, Esser et al. 2021,
    eq. 7). The discriminator learns in the same step, with an AdamW of its own.
    """

    def make(seed: int) -> Term:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, 2))
            discriminator = patch_discriminator()
        optimizer = torch.optim.AdamW(discriminator.parameters(), lr=5e-4, betas=(0.5, 0.9))

        def term(seen: Seen) -> Tensor:
            if seen.share < start:
                return seen.loss.new_zeros(())
            train_discriminator(
                discriminator, optimizer, true=seen.images, made=seen.result.images.detach()
            )
            believed = -discriminator.requires_grad_(requires_grad=False)(seen.result.images).mean()
            last = seen.tokenizer.decoder.convolutions[-2]
            assert isinstance(last, nn.Conv2d)
            own, other = (
                torch.autograd.grad(loss, last.weight, retain_graph=True)[0].norm()
                for loss in (seen.loss, believed)
            )
            return weight * (own / (other + 1e-4)).clamp(max=100.0).detach() * believed

        return term

    return make


def train_discriminator(
    discriminator: nn.Module, optimizer: torch.optim.Optimizer, *, true: Tensor, made: Tensor
) -> None:
    """One step of the discriminator, by the hinge loss."""
    discriminator.requires_grad_(requires_grad=True)
    optimizer.zero_grad(set_to_none=True)
    (F.relu(1 - discriminator(true)).mean() + F.relu(1 + discriminator(made)).mean()).backward()
    optimizer.step()


def patch_discriminator() -> nn.Sequential:
    """PatchGAN (Isola et al. 2017), small: three strided convolutions, one verdict per 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 1, 3, padding=1),
    ).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
