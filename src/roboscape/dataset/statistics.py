"""Per-episode statistics of every feature, and their sum over a dataset, in LeRobot's form."""

from collections.abc import Iterable

import numpy as np
from einops import rearrange
from jaxtyping import Float, Num, Shaped

from roboscape.dataset.layout import (
    ACTION_KEY,
    DONE_KEY,
    OBJECTS_KEY,
    REWARD_KEY,
    STATE_KEY,
    SUCCESS_KEY,
    depth_key,
    image_key,
)
from roboscape.dataset.records import Episode

FeatureStatistics = dict[str, np.ndarray]
"""`min`, `max`, `mean`, `std`, `count` and the quantiles `q01` to `q99` of one feature."""
Statistics = dict[str, FeatureStatistics]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLED_FRAMES = 20
"""Number of images of an episode on which its statistics are measured."""
PIXEL_STRIDE = 4
"""Step between the rows, and the columns, of those images that are used."""


def episode_statistics(
    episode: Episode, columns: dict[str, Shaped[np.ndarray, "t ..."]]
) -> Statistics:
    """Statistics of every feature; colours in [0, 1], depth in metres, both of shape (c, 1, 1).

    Args:
        episode: where the images come from.
        columns: the bookkeeping columns of its rows (`index`, `timestamp`, …).
    """
    done = np.arange(len(episode)) == len(episode) - 1
    vectors = {
        **({STATE_KEY: episode.state} if episode.state.shape[1] else {}),
        **({} if episode.objects is None else {OBJECTS_KEY: episode.objects}),
        ACTION_KEY: episode.actions,
        REWARD_KEY: episode.reward,
        DONE_KEY: done,
        SUCCESS_KEY: done & episode.success,
        **columns,
    }
    content = {key: _describe(values.reshape(len(episode), -1)) for key, values in vectors.items()}
    for camera, frames in episode.frames.items():
        content[image_key(camera)] = _describe_images(frames)
    for camera, depth_m in episode.depth_m.items():
        content[depth_key(camera)] = _describe_images(depth_m[..., None])
    return content


def aggregate(parts: Iterable[Statistics]) -> Statistics:
    """Statistics of the union; quantiles are means weighted by count, as LeRobot combines them."""
    by_feature: dict[str, list[FeatureStatistics]] = {}
    for part in parts:
        for feature, values in part.items():
            by_feature.setdefault(feature, []).append(values)
    return {feature: _aggregate_feature(values) for feature, values in by_feature.items()}


def _aggregate_feature(parts: list[FeatureStatistics]) -> FeatureStatistics:
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    count = stacked["count"].sum(axis=0)
    weight = stacked["count"].reshape(-1, *[1] * parts[0]["mean"].ndim) / count.sum()
    mean = (stacked["mean"] * weight).sum(axis=0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weight).sum(axis=0)
    return {
        "min": stacked["min"].min(axis=0),
        "max": stacked["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": count,
        **{name: (stacked[name] * weight).sum(axis=0) for name in QUANTILES},
    }


def _describe(values: Shaped[np.ndarray, "n c"]) -> FeatureStatistics:
    """Statistics over the first axis."""
    numbers: Float[np.ndarray, "n c"] = values.astype(np.float64)
    quantiles = np.quantile(numbers, list(QUANTILES.values()), axis=0)
    return {
        "min": numbers.min(axis=0),
        "max": numbers.max(axis=0),
        "mean": numbers.mean(axis=0),
        "std": numbers.std(axis=0),
        "count": np.array([len(numbers)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def _describe_images(images: Num[np.ndarray, "t h w c"]) -> FeatureStatistics:
    """Statistics per channel of a sample of frames and pixels; bytes are scaled to [0, 1]."""
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLED_FRAMES).round().astype(int))
    sample = images[rows, ::PIXEL_STRIDE, ::PIXEL_STRIDE]
    largest = 255.0 if images.dtype == np.uint8 else 1.0
    described = _describe(rearrange(sample, "t h w c -> (t h w) c") / largest)
    shaped = {name: value.reshape(-1, 1, 1) for name, value in described.items()}
    return {**shaped, "count": np.array([len(rows)])}
