from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roboscape.core.video import count_frames
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.faults.finding import Finding, merged
from roboscape.inspection.findings import findings
from roboscape.inspection.inspect import Inspect, repair_command, run
from roboscape.inspection.survey import survey

MakeEpisode = Callable[..., Episode]
LENGTH = 40


@pytest.fixture
def problems_of(tmp_path: Path) -> Callable[[DatasetSpec, list[Episode]], list[str]]:
    def write_and_look(spec: DatasetSpec, episodes: list[Episode]) -> list[str]:
        with DatasetWriter(tmp_path / "looked_at", spec) as writer:
            for episode in episodes:
                writer.add(episode)
        dataset = LeRobotDataset(tmp_path / "looked_at")
        seen = survey(dataset, max_episodes=100, max_image_episodes=10)
        return [str(finding) for finding in findings(seen, dataset.spec)]

    return write_and_look


@pytest.fixture
def healthy(make_episode: MakeEpisode) -> list[Episode]:
    return [make_episode(seed, length=LENGTH) for seed in range(3)]


def test_the_report_says_what_there_is(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(Inspect(dataset=dataset))
    assert capsys.readouterr().out == report
    for text in (
        "LeRobot v3.0, panda, test",
        "5, 70 frames at 20 Hz",
        "12 to 16 rows, median 14 (0.7 s)",
        "1000 to 1004",
        "'push the cube' (3)",
        "100%   40% succeed",
        "front: 32 x 32 RGB + depth (0.1 to 10 m kept; 1 %, 50 %, 99 %:",
        "wrist: 32 x 32 RGB\n",
        "tracks by simulator test: front, 5 of 5 episodes",
        "delta actions at 20 Hz in the frame robot_base",
        "a stored 1 is x 0.05 m, y 0.05 m, gripper 1\n",
        "gripper -1 opens, +1 closes",
    ):
        assert text in report


def test_a_healthy_dataset_has_no_problem(
    problems_of: Callable, spec: DatasetSpec, healthy: list[Episode]
) -> None:
    assert problems_of(spec, healthy) == []


def with_actions(episode: Episode, change: Callable[[np.ndarray], np.ndarray]) -> Episode:
    return replace(episode, actions=change(episode.actions.copy()).astype(np.float32))


def constant(actions: np.ndarray) -> np.ndarray:
    actions[:, 1] = 0.3
    return actions


def clipped(actions: np.ndarray) -> np.ndarray:
    actions[:, 0] = actions[:, 0].clip(-0.3, 0.3)
    return actions


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda e: with_actions(e, constant), "action never changes in y"),
        (lambda e: with_actions(e, clipped), "action x is at its smallest or largest value"),
        (lambda e: replace(e, state=np.ones_like(e.state)), "state stands still in 100%"),
        (lambda e: replace(e, seed=3), "2 episodes with the seed of an earlier one"),
        (
            lambda e: replace(e, depth_m={"front": np.zeros_like(e.depth_m["front"])}),
            "100.0% of the depth of front lies at the ends",
        ),
        (
            lambda e: replace(e, frames=e.frames | {"wrist": e.frames["wrist"][:1].repeat(40, 0)}),
            "camera wrist repeats the frame before in 9",
        ),
        (
            lambda e: replace(e, frames=e.frames | {"wrist": np.zeros_like(e.frames["wrist"])}),
            "camera wrist shows a single colour in 120 of 120",
        ),
    ],
)
def test_a_problem_of_the_episodes_is_found(
    problems_of: Callable,
    spec: DatasetSpec,
    healthy: list[Episode],
    change: Callable[[Episode], Episode],
    problem: str,
) -> None:
    assert any(problem in text for text in problems_of(spec, [change(one) for one in healthy]))


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        ({"success": True}, "all 11 episodes succeed"),
        ({"success": False}, "none of 11 episodes succeeds"),
    ],
)
def test_outcomes_that_are_all_alike_are_found(
    problems_of: Callable,
    spec: DatasetSpec,
    make_episode: MakeEpisode,
    outcome: dict,
    problem: str,
) -> None:
    episodes = [make_episode(seed, length=LENGTH, **outcome) for seed in range(11)]
    assert any(problem in text for text in problems_of(spec, episodes))


def test_a_wrong_rate_is_found(
    problems_of: Callable, spec: DatasetSpec, healthy: list[Episode]
) -> None:
    slower = replace(spec, action=replace(spec.action, action_hz=10.0))
    assert any("actions at 10 Hz but frames at 20" in text for text in problems_of(slower, healthy))


def test_an_arm_of_which_one_joint_rests_is_not_idle(
    problems_of: Callable, spec: DatasetSpec, healthy: list[Episode]
) -> None:
    late = (np.arange(LENGTH) > LENGTH - 5).astype(np.float32)
    one_rests = [replace(e, state=np.stack([e.state[:, 0], late], axis=1)) for e in healthy]
    assert not any("stands still" in text for text in problems_of(spec, one_rests))


@pytest.mark.parametrize(("length", "reports"), [(15, 1), (16, 0)])
def test_an_episode_is_short_where_no_clip_fits(
    problems_of: Callable, spec: DatasetSpec, make_episode: MakeEpisode, length: int, reports: int
) -> None:
    texts = problems_of(spec, [make_episode(0, length=length)])
    assert sum("fewer than 16 rows" in text for text in texts) == reports


def test_absolute_actions_that_claim_to_be_deltas_are_found(
    problems_of: Callable, spec: DatasetSpec, healthy: list[Episode]
) -> None:
    same_names = replace(spec, state_names=("x", "y"))
    following = [
        replace(one, state=one.actions[:, :2] + np.float32(0.01) * one.state) for one in healthy
    ]
    problems = problems_of(same_names, following)
    assert any("follows the state itself in x, y: it looks absolute" in text for text in problems)


def test_quaternions_that_change_sign_are_found(
    problems_of: Callable, spec: DatasetSpec, healthy: list[Episode]
) -> None:
    angle = np.linspace(0.3, 0.8, LENGTH)
    quaternion = np.stack([np.sin(angle), 0 * angle, np.sin(angle) ** 2, np.cos(angle)], -1)
    quaternion[13:] *= -1
    names = tuple(f"eef_quat_{axis}" for axis in "xyzw")
    turned = [replace(one, state=quaternion.astype(np.float32)) for one in healthy]
    problems = problems_of(replace(spec, state_names=names), turned)
    assert any("jumps to its negative 3 times" in text for text in problems)


def test_a_dataset_without_a_convention_is_said_to_have_none(dataset: Path) -> None:
    (dataset / "meta/roboscape.json").unlink()
    report = run(Inspect(dataset=dataset))
    assert "convention   unknown" in report
    assert "! [convention_unknown] the dataset does not say what its actions mean" in report


def test_broken_and_short_episodes_are_reported_and_the_rest_is_drawn(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "data/chunk-000/file-001.parquet").write_bytes(b"nonsense")
    (dataset / "videos/observation.images.front/chunk-000/file-002.mp4").write_bytes(b"nonsense")
    report = run(Inspect(dataset=dataset, video=True, output=tmp_path / "pictures"))
    assert report.count("cannot be read: ") == 3
    assert "file-001.parquet is not a readable Parquet file" in report
    assert "4 episodes with fewer than 16 rows" in report
    assert count_frames(tmp_path / "pictures/episodes.mp4") == 13


def test_the_pictures_show_the_episodes(dataset: Path, tmp_path: Path) -> None:
    run(Inspect(dataset=dataset, video=True, output=tmp_path, episodes=3))
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png"))
    # A label column and eight tiles wide; a header, three bands of two rows each, a footer.
    assert sheet.shape[1] > 8 * 176
    assert sheet.shape[0] > 3 * 2 * 176
    # The first of each outcome and behaviour, then the next: episodes 0, 1 and 2.
    assert count_frames(tmp_path / "episodes.mp4") == 14


def test_a_camera_without_depth_or_tracks_is_drawn(dataset: Path, tmp_path: Path) -> None:
    run(Inspect(dataset=dataset, video=True, output=tmp_path, episodes=1, camera="wrist"))
    assert (tmp_path / "contact_sheet.png").exists()


def test_an_empty_dataset_is_reported(tmp_path: Path, spec: DatasetSpec, dataset: Path) -> None:
    info = (
        (dataset / "meta/info.json")
        .read_text()
        .replace('"total_episodes": 5', '"total_episodes": 0')
    )
    (dataset / "meta/info.json").write_text(info)
    assert "the dataset has no episodes" in run(Inspect(dataset=dataset, video=True))


def test_all_fixes_together_leave_out_episodes_once() -> None:
    fixes = (("drop_episodes=2,10",), (), ("trim_idle",), ("drop_episodes=1,2", "trim_idle"))
    found = [Finding(kind="idle", where="", text="", fix=fix) for fix in fixes]
    assert merged(found) == ("drop_episodes=1,2,10", "trim_idle")
    assert merged([]) == ()


@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        ("data/lift", "roboscape repair data/lift --output data/lift_repaired"),
        ("my data", "roboscape repair 'my data' --output 'my data_repaired'"),
        (
            "hf://lerobot/droid@v3.0?episodes=0:20",
            "roboscape repair 'hf://lerobot/droid@v3.0?episodes=0:20' --output data/droid_repaired",
        ),
    ],
)
def test_the_command_that_repairs_can_be_pasted(dataset: str, command: str) -> None:
    assert repair_command(Path(dataset)) == command
