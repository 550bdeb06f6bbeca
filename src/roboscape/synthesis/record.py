"""The datasets that imagined episodes are written to, and the record of how they were made."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roboscape.core.files import read_json, write_json
from roboscape.dataset.frame_actions import stacked_episode
from roboscape.dataset.layout import INFO_PATH
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.dataset.writer import DatasetWriter
from roboscape.synthesis.imagine import Imagined
from roboscape.synthesis.plausibility import Plausibility

RECORD = "meta/synthetic.json"
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

    def record(self) -> dict[str, Any]:
        """The record of the episode, as JSON."""
        verdict, plan = self.imagined.verdict, self.imagined.plan
        return {
            "seed": plan.seed,
            "plausible": not self.reasons,
            "reasons": self.reasons,
            "success": verdict.outcome,
            "success_frames": sum(verdict.success),
            "unknown_frames": sum(verdict.unknown),
            "log_confidence": self.imagined.log_confidence,
            "scores": None if self.scores is None else asdict(self.scores),
            "split": plan.split,
            "origin": plan.origin,
        }


class SyntheticDatasets:
    """Plausible episodes in the dataset, implausible ones in another inside its folder.

    A batch's records are written before its episodes, and a run that goes on imagines the episodes
    that neither dataset holds: nothing is lost or doubled, whenever it was stopped.
    """

    def __init__(self, root: Path, spec: DatasetSpec, *, about: dict[str, Any]) -> None:
        self.root, self.spec, self.about = root, spec, about
        # A dataset begins with its specification, then anything else may lie in `meta`.
        DatasetWriter(root, spec).close()
        path = root / RECORD
        known = read_json(path) if path.is_file() else {"episodes": [], "skipped": {}}
        self.records: dict[int, dict[str, Any]] = {one["seed"]: one for one in known["episodes"]}
        self.skipped = {int(seed): reason for seed, reason in known["skipped"].items()}
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

    def write_records(self) -> None:
        """Write `meta/synthetic.json` of both datasets."""
        records = [self.records[seed] for seed in sorted(self.records)]
        counts = {
            "imagined": len(records),
            "skipped": len(self.skipped),
            "plausible": sum(one["plausible"] for one in records),
            "success": sum(one["success"] is True for one in records),
            "unknown": sum(one["success"] is None for one in records),
        }
        content = {"counts": counts, "skipped": self.skipped, "episodes": records}
        write_json(self.root / RECORD, {**self.about, **content})
        apart = [one for one in records if not one["plausible"]]
        if apart:
            DatasetWriter(self.root / IMPLAUSIBLE, self.spec).close()
            content = {**self.about, "implausible": True, "episodes": apart}
            write_json(self.root / IMPLAUSIBLE / RECORD, content)


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
