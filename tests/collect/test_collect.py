import functools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from roboscape.collect import collect as collecting
from roboscape.collect.collect import CONFIG_FILE, STAGING_FOLDER, collect, collected_seeds
from roboscape.dataset.annotations import annotations_folder, read_tracks
from roboscape.dataset.reader import LeRobotDataset
from roboscape.sources.saving import OrderedSaver
from roboscape.sources.staging import load_staged, stage_episode, staged_path

# Spawned workers import the simulator by its module's name.
sys.path.insert(0, str(Path(__file__).parent))
from toy_simulator import SPEC, ToyConfig, ToySimulator


def collect_toys(config: ToyConfig) -> None:
    collect(config, make_simulator=functools.partial(ToySimulator, config), spec=SPEC)


def seeds_in_order(root: Path) -> list[int]:
    dataset = LeRobotDataset(root)
    return [dataset.episode_info(index).seed for index in range(dataset.num_episodes)]


def assert_same(found, expected):
    np.testing.assert_array_equal(found.actions, expected.actions)
    np.testing.assert_array_equal(found.state, expected.state)
    assert (found.seed, found.task, found.success) == (expected.seed, expected.task, False)


def test_staging_is_lossless(tmp_path):
    episode = ToySimulator(ToyConfig(output=tmp_path, episodes=1)).simulate(7)
    stage_episode(tmp_path, episode, number=7)
    loaded = load_staged(tmp_path, 7)
    assert_same(loaded, episode)
    np.testing.assert_array_equal(loaded.frames["front"], episode.frames["front"])
    np.testing.assert_array_equal(loaded.depth_m["front"], episode.depth_m["front"])
    np.testing.assert_array_equal(
        loaded.tracks["front"].on_moving_body, episode.tracks["front"].on_moving_body
    )


def test_two_workers_save_in_seed_order_and_a_longer_rerun_appends(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "EPISODES_PER_SAVE", 2)
    config = ToyConfig(output=tmp_path / "d", episodes=5, seed=10, workers=2)
    collect_toys(config)
    assert seeds_in_order(config.output) == [10, 11, 12, 13, 14]
    assert not (config.output / STAGING_FOLDER).exists()
    collect_toys(ToyConfig(output=config.output, episodes=6, seed=10))
    assert seeds_in_order(config.output) == [10, 11, 12, 13, 14, 15]
    assert_same(LeRobotDataset(config.output).episode(5), ToySimulator(config).simulate(15))
    tracks = read_tracks(
        annotations_folder(config.output), annotator="simulator", camera="front", episode=5
    )
    assert tracks.xy_px.shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("accident", "error", "said"),
    [
        ("deadly_seed", RuntimeError, "seed 3 failed: its process died"),
        ("failing_seed", RuntimeError, "seed 3 failed"),
        ("interrupting_seed", KeyboardInterrupt, None),
    ],
)
def test_an_accident_names_the_seed_and_the_rerun_loses_and_doubles_nothing(
    tmp_path, monkeypatch, accident, error, said
):
    monkeypatch.setattr(collecting, "EPISODES_PER_SAVE", 2)
    config = ToyConfig(output=tmp_path / "d", episodes=5, workers=1, **{accident: 3})
    # The accident is not in the data, so it may be absent from the rerun.
    monkeypatch.setattr(collecting, "FREE_TO_CHANGE", (*collecting.FREE_TO_CHANGE, accident))
    with pytest.raises(error, match=said):
        collect_toys(config)
    # Which of the finished seeds are saved already and which still wait depends on the moment.
    waiting = [staged_path(config.output / STAGING_FOLDER, seed) for seed in range(5)]
    staged = {seed for seed, path in enumerate(waiting) if path.exists()}
    # A worker that reports a failure may begin the next seed before it is ended.
    assert (collected_seeds(config.output) | staged) - {4} == {0, 1, 2}
    collect_toys(ToyConfig(output=config.output, episodes=5))
    assert seeds_in_order(config.output) == [0, 1, 2, 3, 4]
    assert not any(path.exists() for path in waiting)


def test_a_save_that_the_pool_lost_sight_of_ends_before_the_rerun_begins(tmp_path, monkeypatch):
    # What a Ctrl-C does that meets the pool while it starts its thread.
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", lambda _pool, wait: None)
    root, folder = tmp_path / "d", tmp_path / "staged"
    folder.mkdir()
    for seed in (0, 1):
        stage_episode(
            folder, ToySimulator(ToyConfig(output=root, episodes=2)).simulate(seed), number=seed
        )
    begun = Event()

    def before_save(_seeds):
        begun.set()
        time.sleep(0.3)

    with OrderedSaver(
        root, spec=SPEC, numbers=[0, 1], folder=folder, group=2, before_save=before_save
    ) as saver:
        saver.save_when_enough()
        assert begun.wait(timeout=30)
    assert collected_seeds(root) == {0, 1}
    assert not any(folder.iterdir())


def test_a_crash_between_saving_and_tidying_does_not_double_an_episode(tmp_path):
    config = ToyConfig(output=tmp_path / "d", episodes=2)
    collect_toys(config)
    folder = config.output / STAGING_FOLDER
    stage_episode(folder, ToySimulator(config).simulate(1), number=1)
    collect_toys(ToyConfig(output=config.output, episodes=3))
    assert seeds_in_order(config.output) == [0, 1, 2]


def test_a_setting_that_came_later_counts_as_its_default(tmp_path):
    begun = ToyConfig(output=tmp_path, episodes=1)
    collect_toys(begun)
    path = tmp_path / CONFIG_FILE
    settings = json.loads(path.read_text())
    del settings["flavour"]
    path.write_text(json.dumps(settings))
    collect_toys(replace(begun, episodes=2))
    assert seeds_in_order(tmp_path) == [begun.seed, begun.seed + 1]
    with pytest.raises(ValueError, match=r"other settings \(flavour: was"):
        collect_toys(replace(begun, episodes=3, flavour="another"))


def test_other_settings_are_refused(tmp_path):
    collect_toys(ToyConfig(output=tmp_path / "d", episodes=1))
    with pytest.raises(ValueError, match=r"other settings \(flavour: was.*choose another output"):
        collect_toys(ToyConfig(output=tmp_path / "d", episodes=2, flavour="bitter"))


def test_no_episodes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        collect_toys(ToyConfig(output=tmp_path / "d", episodes=0))
    assert not (tmp_path / "d").exists()
