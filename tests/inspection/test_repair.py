from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboscape.core.files import read_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode, Tracks
from roboscape.dataset.writer import DatasetWriter
from roboscape.inspection.repair import REPAIRS, RepairDataset, run
from roboscape.inspection.repairs.repair import SourceDataset
from roboscape.inspection.repairs.rows import fresh_rows, merge_actions
from tests.hand_recordings import SPEC, record
from tests.planting import numbers
from tests.planting.planting import Plant

BLIND = replace(SPEC, cameras=())
Repaired = Callable[[str, Episode], Episode]


@pytest.fixture(scope="module")
def seen() -> Episode:
    """One episode with images, depth and tracks."""
    random = np.random.default_rng(0)
    tracks = Tracks(
        xy_px=random.integers(0, 48, (40, 6, 2)).astype(np.float32), visible=np.ones((40, 6), bool)
    )
    return replace(record(0, length=40), tracks={"front": tracks})


@pytest.fixture(scope="module")
def blind() -> list[Episode]:
    return [replace(record(seed), frames={}, depth_m={}) for seed in range(3)]


def write(root: Path, spec: DatasetSpec, episodes: list[Episode]) -> LeRobotDataset:
    with DatasetWriter(root, spec) as writer:
        for episode in episodes:
            writer.add(episode)
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def repaired(blind: list[Episode], tmp_path_factory: pytest.TempPathFactory) -> Repaired:
    source = SourceDataset(write(tmp_path_factory.mktemp("source"), BLIND, blind))

    def by_fix(fix: str, episode: Episode) -> Episode:
        kind, _, value = fix.partition("=")
        result = REPAIRS[kind](value, SPEC, source).episode(0, episode)
        assert result is not None
        return result

    return by_fix


@pytest.mark.parametrize(
    ("plant", "fixes"),
    [
        (numbers.gripper_inverted, ("flip_gripper",)),
        (numbers.quaternion_not_unit, ("unit_quaternions",)),
        (numbers.quaternion_sign, ("continuous_quaternions",)),
        (numbers.degrees_state, ("radians=state:joint_1,joint_2",)),
        (numbers.degrees_action, ("radians=action:eef_rx,eef_ry,eef_rz",)),
        (numbers.delta_as_absolute, ("set_mode=delta",)),
        (numbers.scale_too_small, ("set_scale=eef_x:0.05",)),
    ],
)
def test_a_repair_undoes_what_was_planted(
    blind: list[Episode], tmp_path: Path, plant: Plant, fixes: tuple[str, ...]
) -> None:
    planted = plant(BLIND, blind)
    assert planted is not None
    write(tmp_path / "planted", planted.spec, planted.episodes)
    after = run(
        RepairDataset(dataset=tmp_path / "planted", output=tmp_path / "repaired", fix=fixes)
    )
    assert after.spec == BLIND
    for number, before in enumerate(blind):
        np.testing.assert_allclose(after.actions(number), before.actions, atol=5e-5)
        np.testing.assert_allclose(after.state(number), before.state, atol=5e-5)
    assert read_json(tmp_path / "repaired/repair.json")["fixes"] == list(fixes)


def test_a_spike_becomes_the_mean_of_its_neighbours(blind: list[Episode], tmp_path: Path) -> None:
    state = blind[0].state.copy()
    state[30, 1] += 5
    write(tmp_path / "spiky", BLIND, [replace(blind[0], state=state), *blind[1:]])
    fix = ("repair_spikes=state",)
    after = run(RepairDataset(dataset=tmp_path / "spiky", output=tmp_path / "repaired", fix=fix))
    changed = after.state(0) != blind[0].state
    assert np.argwhere(changed).tolist() == [[30, 1]]
    assert after.state(0)[30, 1] == pytest.approx(state[[29, 31], 1].mean())


def test_of_every_pause_half_a_second_is_kept(blind: list[Episode], tmp_path: Path) -> None:
    rows = np.sort(np.concatenate([np.arange(100), np.full(40, 50)]))
    one = replace(
        blind[0], actions=blind[0].actions[rows], state=blind[0].state[rows], reward=np.zeros(140)
    )
    write(tmp_path / "idle", BLIND, [one, *blind[1:]])
    after = run(
        RepairDataset(dataset=tmp_path / "idle", output=tmp_path / "repaired", fix=("trim_idle",))
    )
    assert after.num_frames == pytest.approx(310, abs=2)
    assert np.array_equal(after.state(0)[:60], one.state[:60])
    assert np.array_equal(after.state(0)[-45:], one.state[-45:])
    assert after.episode_info(1).length == 100


def test_a_dropped_dimension_is_gone_everywhere(blind: list[Episode], tmp_path: Path) -> None:
    write(tmp_path / "all", BLIND, blind)
    after = run(
        RepairDataset(
            dataset=tmp_path / "all",
            output=tmp_path / "fewer",
            fix=("drop_dimension=action:eef_y", "drop_dimension=state:joint_1", "drop_episodes=1"),
        )
    )
    assert after.num_episodes == 2
    assert "eef_y" not in after.spec.action.names
    assert len(after.spec.action.scale) == 6
    assert np.array_equal(after.actions(1), np.delete(blind[2].actions, 1, axis=1))
    assert "joint_1" not in after.spec.state_names
    assert after.state(0).shape == (100, len(after.spec.state_names))


@pytest.mark.parametrize(
    "fix", ["rotate_video=front", "flip_video=front:vertical", "flip_video=front:horizontal"]
)
def test_turned_images_take_depth_and_tracks_along(
    seen: Episode, repaired: Repaired, fix: str
) -> None:
    once = repaired(fix, seen)
    assert not np.array_equal(once.frames["front"], seen.frames["front"])
    for images in ("frames", "depth_m"):
        for row in (0, 17):
            x, y = seen.tracks["front"].xy_px[row].astype(int).T
            now_x, now_y = once.tracks["front"].xy_px[row].astype(int).T
            before, after = getattr(seen, images)["front"][row], getattr(once, images)["front"][row]
            assert np.array_equal(after[now_y, now_x], before[y, x])
    twice = repaired(fix, once)
    assert np.array_equal(twice.frames["front"], seen.frames["front"])
    assert np.array_equal(twice.tracks["front"].xy_px, seen.tracks["front"].xy_px)


@pytest.mark.parametrize("rows", [-4, 3])
def test_actions_move_against_everything_else(seen: Episode, repaired: Repaired, rows: int) -> None:
    after = repaired(f"shift_actions={rows}", seen)
    first = max(0, rows)
    assert len(after) == 40 - abs(rows)
    assert np.array_equal(after.state, seen.state[first : first + len(after)])
    kept = slice(first - rows, first - rows + len(after))
    assert np.array_equal(after.actions, seen.actions[kept])


def test_images_move_against_everything_else(seen: Episode, repaired: Repaired) -> None:
    after = repaired("shift_video=front:5", seen)
    assert len(after) == 35
    assert np.array_equal(after.state, seen.state[:35])
    assert np.array_equal(after.frames["front"], seen.frames["front"][5:])
    assert np.array_equal(after.depth_m["front"], seen.depth_m["front"][5:])
    assert np.array_equal(after.tracks["front"].xy_px, seen.tracks["front"].xy_px[5:])


@pytest.mark.parametrize(
    ("repeated", "kept"),
    [("0000", "11111"), ("1010", "10101"), ("0101", "11010"), ("1111", "10101"), ("", "1")],
)
def test_rows_with_a_new_image_stay_and_every_second_of_those_without(
    repeated: str, kept: str
) -> None:
    flags = np.array([letter == "1" for letter in repeated], bool)
    assert "".join(str(int(row)) for row in fresh_rows(flags, every=2)) == kept


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_what_was_commanded_together_stays_the_same(later: list[bool]) -> None:
    kept = np.array([True, *later])
    actions = np.random.default_rng(len(kept)).normal(size=(len(kept), 7))
    merged = merge_actions(actions, kept, convention=SPEC.action)
    np.testing.assert_allclose(merged[:, :6].sum(axis=0), actions[:, :6].sum(axis=0), atol=1e-12)
    assert merged[-1, 6] == actions[-1, 6]
    absolute = replace(SPEC.action, mode="absolute")
    assert np.array_equal(merge_actions(actions, kept, convention=absolute)[-1], actions[-1])


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        ((), "give at least one --fix"),
        (("polish",), "there is no fix 'polish'"),
        (("set_fps=-1",), "expected a number above 0, got '-1'"),
        (("set_mode=both",), "expected delta or absolute"),
        (("set_scale=z:2",), "with a name among eef_x"),
        (("shift_actions=half",), "expected a whole number"),
        (("rotate_video=wrist",), "there is no camera 'wrist'"),
        (("drop_episodes=7",), "there is no episode 7"),
        (("drop_episodes=0,1,2",), "leave no episode"),
        (("drop_dimension=state:knee",), "there is no state knee"),
        (("trim_idle=2",), "takes no value"),
    ],
)
def test_a_fix_that_cannot_be_done_is_refused_and_nothing_is_written(
    blind: list[Episode], tmp_path: Path, fixes: tuple[str, ...], message: str
) -> None:
    write(tmp_path / "all", BLIND, blind)
    with pytest.raises(ValueError, match=message):
        run(RepairDataset(dataset=tmp_path / "all", output=tmp_path / "repaired", fix=fixes))
    assert not (tmp_path / "repaired").exists()


def test_an_existing_folder_is_not_written_over(blind: list[Episode], tmp_path: Path) -> None:
    write(tmp_path / "all", BLIND, blind)
    with pytest.raises(ValueError, match="a repaired copy goes to a new folder"):
        run(RepairDataset(dataset=tmp_path / "all", output=tmp_path / "all", fix=("trim_idle",)))
