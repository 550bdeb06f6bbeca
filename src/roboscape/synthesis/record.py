"""The datasets that imagined episodes are written to, and the record of how they were made."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from roboscape.dataset.frame_actions import stacked_episode
from roboscape.dataset.layout import INFO_PATH
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.dataset.writer import DatasetWriter
from roboscape.rollout.synthetic import (
    Synthetic,
    SyntheticEpisode,
    digests,
    files_of,
    is_synthetic,
    read_synthetic,
    write_synthetic,
)
from roboscape.synthesis.imagine import Imagined
from roboscape.synthesis.plausibility import Plausibility

IMPLAUSIBLE = "implausible"
"""Folder, inside the dataset's, of the dataset of episodes that are kept apart."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An imagined episode with its scores."""

    imagined: Imagined
    scores: Plausibility | None
    """None where plausibility is off."""
    reasons: list[str] = field(default_factory=list)
    """Why it is implausible; nothing where it is plausible."""

    def record(self) -> SyntheticEpisode:
        """The record of the episode, in the dataset of plausible ones."""
        verdict, plan = self.imagined.verdict, self.imagined.plan
        details = {
            "reasons": self.reasons,
            "success": verdict.outcome,
            "success_frames": sum(verdict.success),
            "unknown_frames": sum(verdict.unknown),
            "log_confidence": self.imagined.log_confidence,
            "scores": None if self.scores is None else asdict(self.scores),
            "split": plan.split,
            "origin": plan.origin,
        }
        return SyntheticEpisode(seed=plan.seed, kept=not self.reasons, details=details)


class SyntheticDatasets:
    """Plausible episodes in the dataset, implausible ones in another inside its folder.

    A batch's records are written before its episodes, and a run that goes on imagines the episodes
    that neither dataset holds: nothing is lost or doubled, whenever it was stopped.
    """

    def __init__(self, root: Path, spec: DatasetSpec, *, about: Synthetic) -> None:
        """Begin or continue the datasets.

        Args:
            root: Folder of the first one.
            spec: Of both.
            about: Their record, without episodes.

        Raises:
            ValueError: a dataset of another spec, or with the record of an earlier version.
        """
        self.root, self.spec, self.about = root, spec, about
        known = read_synthetic(root) if is_synthetic(root) else about
        # A dataset begins with its specification, then anything else may lie in `meta`.
        DatasetWriter(root, spec).close()
        self.records = {one.seed: one for one in known.episodes}
        skipped = known.details.get("skipped", {})
        self.skipped = {int(seed): reason for seed, reason in skipped.items()}
        """Why some seeds have no episode."""

    @property
    def seeds(self) -> set[int]:
        """Seeds of the episodes that are there, plausible or not."""
        return written_seeds(self.root) | written_seeds(self.root / IMPLAUSIBLE)

    def add(self, episodes: list[Judged]) -> None:
        """Append episodes; those that are there already are left out."""
        there = self.seeds
        new = [one for one in episodes if one.imagined.plan.seed not in there]
        for one in new:
            self.records[one.imagined.plan.seed] = one.record()
        self.write_records()
        groups = (
            (self.root, [one for one in new if not one.reasons]),
            (self.root / IMPLAUSIBLE, [one for one in new if one.reasons]),
        )
        with ExitStack() as stack:
            for root, group in groups:
                if group:
                    writer = stack.enter_context(DatasetWriter(root, self.spec))
                    for one in group:
                        writer.add(episode_of_record(one))
        # The files of the new episodes are there now.
        self.write_records()

    def write_records(self) -> None:
        """Write `meta/synthetic.json` of both datasets."""
        records = [self.records[seed] for seed in sorted(self.records)]
        counts = {
            "imagined": len(records),
            "skipped": len(self.skipped),
            "plausible": sum(one.kept for one in records),
            "success": sum(one.details["success"] is True for one in records),
            "unknown": sum(one.details["success"] is None for one in records),
        }
        self._write(self.root, records, {"counts": counts, "skipped": self.skipped})
        apart = [replace(one, kept=True) for one in records if not one.kept]
        if apart:
            DatasetWriter(self.root / IMPLAUSIBLE, self.spec).close()
            self._write(self.root / IMPLAUSIBLE, apart, {"implausible": True})

    def _write(self, root: Path, records: list[SyntheticEpisode], details: dict[str, Any]) -> None:
        """Write the record of one dataset; files never change, so only new ones are read."""
        known = read_synthetic(root).files if is_synthetic(root) else {}
        new = [path for path in files_of(root) if path.relative_to(root).as_posix() not in known]
        content = replace(
            self.about,
            episodes=tuple(records),
            files={**known, **digests(root, new)},
            details={**self.about.details, **details},
        )
        write_synthetic(root, content)


def written_seeds(root: Path) -> set[int]:
    """Seeds of a dataset's episodes; none where there is no dataset."""
    if not (root / INFO_PATH).is_file():
        return set()
    dataset = LeRobotDataset(root)
    return {dataset.episode_info(number).seed for number in range(dataset.num_episodes)}


def episode_of_record(one: Judged) -> Any:
    """The episode as it is written, its behaviour named by where its actions come from."""
    source = str(one.imagined.plan.origin.get("source", "imagined"))
    return stacked_episode(one.imagined.episode, behaviour=f"imagined:{source}")
