"""What `inspect` says of recordings that others made: nothing but what is true of them."""

from pathlib import Path

import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.inspection.findings import findings
from roboscape.inspection.survey import survey
from roboscape.sources.readers.importing import ImportRecordings, run

REAL = Path(__file__).parents[3] / "shared/data"

pytestmark = pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is absent")


def said_of(reader: str, source: Path, folder: Path) -> tuple[set[str], LeRobotDataset]:
    run(ImportRecordings(format=reader, source=source, output=folder, workers=1))
    dataset = LeRobotDataset(folder)
    problems = findings(survey(dataset, max_episodes=99, max_image_episodes=12), dataset.spec)
    return {one.kind for one in problems}, dataset


def test_bair_is_quiet(tmp_path: Path) -> None:
    said, _ = said_of("bair", REAL / "bair", tmp_path / "bair")
    assert said == set()


def test_bridge_has_ten_rows_an_episode_and_only_successes(tmp_path: Path) -> None:
    said, dataset = said_of("rlds", REAL / "bridge_rlds/1.0.0", tmp_path / "bridge")
    assert said == {"short_episode", "outcomes_alike"}
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    assert {(info.length, info.success) for info in infos} == {(10, True)}


def test_a_door_lock_is_opened_with_the_gripper_always_open(tmp_path: Path) -> None:
    said, dataset = said_of("metaworld-npz", REAL / "metaworld_npz", tmp_path / "metaworld")
    assert said == {"constant"}
    grippers = [dataset.actions(number)[:, 3] for number in range(dataset.num_episodes)]
    assert (np.concatenate(grippers) == -1).all()


@pytest.mark.slow
def test_droid_is_quiet(tmp_path: Path) -> None:
    said, _ = said_of("droid", REAL / "droid", tmp_path / "droid")
    assert said == set()
