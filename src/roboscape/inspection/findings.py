"""All findings about a dataset."""

from dataclasses import replace

from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.episodes import (
    episode_faults,
    unknown_convention,
    unreadable_episodes,
)
from roboscape.inspection.faults.finding import Finding, drop_episodes
from roboscape.inspection.faults.images import image_faults
from roboscape.inspection.faults.motion import motion_faults
from roboscape.inspection.faults.numbers import number_faults
from roboscape.inspection.faults.rows import row_faults
from roboscape.inspection.faults.turning import turning_faults
from roboscape.inspection.survey import Survey


def findings(seen: Survey, spec: DatasetSpec) -> list[Finding]:
    """All findings, the most serious first."""
    found = [
        *unreadable_episodes(seen),
        *unknown_convention(spec),
        *motion_faults(seen, spec),
        *turning_faults(seen, spec),
        *number_faults(seen, spec),
        *row_faults(seen, spec),
        *image_faults(seen, spec),
        *episode_faults(seen),
    ]
    nothing_left = drop_episodes(list(range(len(seen.lengths))))
    return [replace(one, fix=()) if one.fix == nothing_left else one for one in found]
