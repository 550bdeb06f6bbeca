"""A judge's errors against the truth: by frame, and by episode."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.core.pretrained import resolve
from roboscape.judge.correction import Confusion, calibration_error
from roboscape.judge.examples import JudgeExamples
from roboscape.judge.network import SEEN_FROM, SuccessNetwork
from roboscape.judge.protocol import EpisodeVerdict

ACCURACY = "accuracy.json"


@dataclass(frozen=True, kw_only=True)
class JudgeAccuracy:
    """The errors of a judge on frames of one kind."""

    frames: Confusion
    """A frame at a time."""
    episodes: Confusion
    """An episode at a time, found as `EpisodeVerdict` has it; solved in truth in any frame."""
    calibration_error: float
    """Of known frames' probabilities (`calibration_error`)."""
    calibration_error_before: float
    """Without the temperature."""


def measured(
    network: SuccessNetwork, examples: JudgeExamples, *, episodes: Iterable[int]
) -> JudgeAccuracy:
    """The errors of a classifier on some episodes' frames."""
    chosen = examples.of(episodes)
    probability, seen = network.probabilities(examples.take(chosen))
    truth, unknown = examples.success[chosen], seen < SEEN_FROM
    found = (probability >= network.config.threshold) & ~unknown
    whole: list[tuple[bool, bool | None]] = []
    for episode in np.unique(examples.episode[chosen]):
        mine = examples.episode[chosen] == episode
        verdict = EpisodeVerdict(success=found[mine].tolist(), unknown=unknown[mine].tolist())
        whole.append((bool(truth[mine].any()), verdict.outcome))
    outcomes = [outcome for _, outcome in whole]
    known = ~unknown
    logits = np.log(probability / np.maximum(1 - probability, 1e-12))
    plain = 1 / (1 + np.exp(-logits * network.config.temperature))
    return JudgeAccuracy(
        frames=Confusion.of(truth, found, unknown=unknown),
        episodes=Confusion.of(
            np.array([true for true, _ in whole], bool),
            np.array([bool(outcome) for outcome in outcomes], bool),
            unknown=np.array([outcome is None for outcome in outcomes], bool),
        ),
        calibration_error=calibration_error(probability[known], truth[known]),
        calibration_error_before=calibration_error(plain[known], truth[known]),
    )


def accuracy_content(found: dict[str, JudgeAccuracy], **about: object) -> dict[str, object]:
    """The content of `accuracy.json`: by kind of frames, with what it was measured on."""
    return {**about, **{kind: asdict(one) for kind, one in found.items()}}


def read_accuracy(name: str | Path, kind: str) -> JudgeAccuracy:
    """The errors that a trained judge came with, on `recorded` or `imagined` frames.

    Raises:
        ValueError: the judge brings no such measurement.
    """
    path = resolve(name) / ACCURACY
    content = read_json(path)
    if kind not in content:
        raise UserError(
            f"{path} holds no errors on {kind} frames; train the judge with --checkpoint, so that "
            "imagined frames are measured too"
        )
    return config_from_dict(JudgeAccuracy, content[kind], where=f"{kind} in {path}")
