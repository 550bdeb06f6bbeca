"""The figures of an evaluation, from the outcomes of its episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from roboscape.policies.rates import SuccessRate, success_rate
from roboscape.policy_evaluation.agreement import (
    EpisodeAgreement,
    Rates,
    episode_agreement,
    mean_maximum_rank_violation,
    pearson,
    r2_of_identity,
    spearman,
)
from roboscape.policy_evaluation.episodes import NUDGED, EpisodeRecord, World
from roboscape.policy_evaluation.prediction_powered import LEAST_PAIRS, PoweredRate, powered_rate
from roboscape.policy_evaluation.uncertainty import (
    DRAWS,
    Interval,
    Statistic,
    bootstrap,
    paired_ceiling,
    shuffled_agreement,
    shuffled_policies,
    unpaired_ceiling,
)


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Outcomes of every policy from every start. Axes: p policy, s start."""

    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    true: Bool[np.ndarray, "p s"]
    """The simulator's own word."""
    true_by_rule: Bool[np.ndarray, "p s"]
    """The rule's, of the true video: where it differs, the rule errs and not the model."""
    imagined: Bool[np.ndarray, "p s"]
    confidence: Float[np.ndarray, "p s"]
    """Of the imagined episodes."""
    loss_over_motion: Float[np.ndarray, "p s"]
    """Of the imagined episodes."""
    replayed: Bool[np.ndarray, "p s"] | None = None
    """Imagined under the true episodes' actions."""
    nudged: Bool[np.ndarray, "k p s"] | None = None
    """Imagined again, with the objects told a little elsewhere; k repetition."""

    @property
    def unsteadiness(self) -> Float[np.ndarray, "p s"]:
        """Share of the repetitions that end otherwise."""
        assert self.nudged is not None
        return (self.nudged != self.imagined).mean(axis=0)

    @classmethod
    def of(
        cls,
        records: Mapping[World, Mapping[str, Mapping[int, EpisodeRecord]]],
        *,
        seeds: Sequence[int],
    ) -> "Outcomes":
        """From the episodes' lines, by world, policy and seed."""

        def values(world: World, field: str) -> np.ndarray:
            rows = records[world].values()
            return np.array([[getattr(row[seed], field) for seed in seeds] for row in rows])

        again = [name for name in records if name.startswith(NUDGED)]
        return cls(
            labels=tuple(records["true"]),
            seeds=tuple(seeds),
            true=values("true", "success"),
            true_by_rule=values("true", "by_rule"),
            imagined=values("imagined", "success"),
            confidence=values("imagined", "confidence").astype(np.float64),
            loss_over_motion=values("imagined", "loss_over_motion").astype(np.float64),
            replayed=values("replayed", "success") if "replayed" in records else None,
            nudged=np.stack([values(name, "success") for name in again]) if again else None,
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the policies' rates, with its interval over policies and starts."""

    value: float
    over_policies_and_starts: Interval


@dataclass(frozen=True, kw_only=True)
class WorldAgreement:
    """The agreement of one way of imagining with the true world."""

    pearson: Figure
    spearman: Figure
    r2_of_identity: Figure
    mmrv: Figure
    """Mean maximum rank violation."""
    bias: Figure
    """Mean of imagined minus true rates."""
    inflation: Figure
    """Mean of what imagined rates are too high by; too low counts as 0."""
    episodes: EpisodeAgreement
    false_success_rate: float
    false_failure_rate: float
    mcnemar_p: float
    agreement_by_chance: Interval
    """Share of equal outcomes where each policy's starts are shuffled."""


@dataclass(frozen=True, kw_only=True)
class PolicyScore:
    """One policy."""

    label: str
    true: SuccessRate
    imagined: SuccessRate
    replayed: SuccessRate | None
    episodes: EpisodeAgreement
    powered: PoweredRate | None
    """From a few true episodes and all imagined ones; None where there are too few."""
    few: SuccessRate
    """From the same few true episodes alone."""


@dataclass(frozen=True, kw_only=True)
class FlaggedEpisodes:
    """The episodes that a sign of hallucination finds, and the effect of leaving them out."""

    sign: str
    auroc: float
    """Chance that a pair that disagrees looks more doubtful than one that agrees; .5 is none."""
    auroc_of_successes: float
    """The same among imagined successes: are the false ones among them found?"""
    flagged: int
    disagreements_among_flagged: int
    false_successes_without: int
    """Among the episodes that are not flagged."""
    true_failures_without: int
    """Among the episodes that are not flagged."""
    pearson_without: float
    bias_without: float
    agreement_without: float


@dataclass(frozen=True, kw_only=True)
class PolicyScores:
    """All figures of an evaluation."""

    policies: tuple[PolicyScore, ...]
    closed_loop: WorldAgreement
    """The policy acts on what is imagined."""
    open_loop: WorldAgreement | None
    """The true episodes' actions are imagined."""
    rule: EpisodeAgreement
    """The rule against the simulator's own word, both of true episodes: the rule's own errors."""
    ceiling_unpaired: Interval
    """Pearson's r of a perfect model with starts and noise of its own."""
    ceiling_paired: Interval
    """Pearson's r of a perfect model with equal starts, and noise of its own."""
    by_chance: Interval
    """Pearson's r where imagined rates belong to policies at random."""
    flags: tuple[FlaggedEpisodes, ...]

    @property
    def summary(self) -> str:
        """One sentence."""
        found, r = self.closed_loop, self.closed_loop.pearson
        spread = r.over_policies_and_starts
        return (
            f"r {r.value:.3f} (95 % interval {spread.low:.3f} to {spread.high:.3f}; a perfect "
            f"model with unpaired rollouts: {self.ceiling_unpaired.median:.3f}), bias "
            f"{100 * found.bias.value:+.1f} points, {found.episodes.share:.0%} of "
            f"{found.episodes.total} episodes agree, false successes "
            f"{found.false_success_rate:.0%}"
        )


def bias(true: Rates, imagined: Rates) -> float:
    """Mean of what imagined rates are too high by, with its sign."""
    return float((imagined - true).mean())


def inflation(true: Rates, imagined: Rates) -> float:
    """Mean of what imagined rates are too high by; where they are too low it is 0."""
    return float(np.maximum(imagined - true, 0).mean())


STATISTICS: dict[str, Statistic] = {
    "pearson": pearson,
    "spearman": spearman,
    "r2_of_identity": r2_of_identity,
    "mmrv": mean_maximum_rank_violation,
    "bias": bias,
    "inflation": inflation,
}


def scores_of(
    outcomes: Outcomes, *, true_episodes: int, flagged: float, draws: int = DRAWS
) -> PolicyScores:
    """All figures.

    Args:
        outcomes: of the episodes.
        true_episodes: those that a prediction-powered interval is shown.
        flagged: share of imagined episodes that a sign of hallucination flags.
        draws: of the bootstrap, the ceilings and the shuffles.
    """
    true, rates = outcomes.true, outcomes.true.mean(axis=1)
    return PolicyScores(
        policies=tuple(
            policy_score(outcomes, place, true_episodes=true_episodes)
            for place in range(len(outcomes.labels))
        ),
        closed_loop=world_agreement(true, outcomes.imagined, draws=draws),
        open_loop=None
        if outcomes.replayed is None
        else world_agreement(true, outcomes.replayed, draws=draws),
        rule=episode_agreement(true, outcomes.true_by_rule),
        ceiling_unpaired=unpaired_ceiling(rates, starts=true.shape[1], draws=draws),
        ceiling_paired=paired_ceiling(true, draws=draws),
        by_chance=shuffled_policies(rates, outcomes.imagined.mean(axis=1), draws=draws),
        flags=flags_of(outcomes, share=flagged),
    )


def flags_of(outcomes: Outcomes, *, share: float) -> tuple[FlaggedEpisodes, ...]:
    """What each sign of hallucination finds.

    Args:
        outcomes: of the episodes.
        share: of them that confidence and loss flag; of repetitions, whatever ends otherwise is.
    """
    found = [
        flagged_episodes(outcomes, "low confidence", -outcomes.confidence, share=share),
        flagged_episodes(
            outcomes, "re-tokenised loss over motion", outcomes.loss_over_motion, share=share
        ),
    ]
    if outcomes.nudged is not None:
        doubt = outcomes.unsteadiness
        found.append(
            flagged_episodes(
                outcomes,
                f"ends otherwise with the object elsewhere ({len(outcomes.nudged)} repetitions)",
                doubt,
                share=float((doubt > 0).mean()),
            )
        )
    return tuple(found)


def world_agreement(
    true: Bool[np.ndarray, "p s"], imagined: Bool[np.ndarray, "p s"], *, draws: int = DRAWS
) -> WorldAgreement:
    """Agreement of imagined outcomes with true ones."""
    rates = true.mean(axis=1), imagined.mean(axis=1)
    episodes = episode_agreement(true, imagined)
    figures = {
        name: Figure(
            value=statistic(*rates),
            over_policies_and_starts=bootstrap(true, imagined, statistic, draws=draws),
        )
        for name, statistic in STATISTICS.items()
    }
    return WorldAgreement(
        **figures,
        episodes=episodes,
        false_success_rate=episodes.false_success_rate,
        false_failure_rate=episodes.false_failure_rate,
        mcnemar_p=episodes.mcnemar_p,
        agreement_by_chance=shuffled_agreement(true, imagined, draws=draws),
    )


def policy_score(outcomes: Outcomes, place: int, *, true_episodes: int) -> PolicyScore:
    """One policy's rates."""
    true, imagined = outcomes.true[place], outcomes.imagined[place]
    k = min(true_episodes, len(true))
    replayed = None if outcomes.replayed is None else outcomes.replayed[place]
    powered = None
    if LEAST_PAIRS <= k < len(true):
        powered = powered_rate(true[:k], imagined[:k], imagined[k:])
    return PolicyScore(
        label=outcomes.labels[place],
        true=success_rate(true.tolist()),
        imagined=success_rate(imagined.tolist()),
        replayed=None if replayed is None else success_rate(replayed.tolist()),
        episodes=episode_agreement(true, imagined),
        powered=powered,
        few=success_rate(true[:k].tolist()),
    )


def flagged_episodes(
    outcomes: Outcomes, sign: str, doubt: Float[np.ndarray, "p s"], *, share: float
) -> FlaggedEpisodes:
    """The episodes that a sign finds.

    Args:
        outcomes: of the episodes.
        sign: its name.
        doubt: the higher, the more doubtful is an imagined episode.
        share: of the episodes, the most doubtful ones, that are flagged.
    """
    disagree = outcomes.true != outcomes.imagined
    count = round(share * doubt.size)
    flags = np.zeros(doubt.size, bool)
    flags[np.argsort(-doubt.ravel(), kind="stable")[:count]] = True
    kept = ~flags.reshape(doubt.shape)
    some = kept.any(axis=1)
    rates = [
        np.array([row[use].mean() for row, use in zip(values[some], kept[some], strict=True)])
        for values in (outcomes.true, outcomes.imagined)
    ]
    return FlaggedEpisodes(
        sign=sign,
        auroc=auroc(doubt.ravel(), disagree.ravel()),
        auroc_of_successes=auroc(doubt[outcomes.imagined], disagree[outcomes.imagined]),
        flagged=count,
        disagreements_among_flagged=int((disagree & ~kept).sum()),
        false_successes_without=int((outcomes.imagined & ~outcomes.true & kept).sum()),
        true_failures_without=int((~outcomes.true & kept).sum()),
        pearson_without=pearson(*rates),
        bias_without=bias(*rates),
        agreement_without=float((~disagree)[kept].mean()),
    )


def auroc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Chance that a positive scores above a negative, ties half; NaN without one of the two."""
    higher, lower = scores[positive][:, None], scores[~positive][None]
    if not higher.size or not lower.size:
        return float("nan")
    return float((higher > lower).mean() + (higher == lower).mean() / 2)


def as_json(scores: PolicyScores) -> dict[str, Any]:
    """As plain numbers; NaN becomes null."""
    return _plain(asdict(scores))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value
