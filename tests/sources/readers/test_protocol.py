import re
from pathlib import Path

import numpy as np
import pytest

from roboscape.cli import main
from roboscape.dataset.checks import check_episode
from roboscape.dataset.reader import LeRobotDataset
from roboscape.sources.readers.importing import ImportRecordings, run
from roboscape.sources.readers.protocol import (
    READERS,
    first_described,
    open_source,
    plain_episode,
    reader_of,
    spec_like,
)

PAGE = Path(__file__).parents[3] / "docs/add-a-source.md"


def test_the_documented_reader_is_complete_and_short(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 40
    (tmp_path / "my_reader.py").write_text(code)
    random = np.random.default_rng(0)
    recorded = {}
    for name in ("a", "b"):
        frames = np.full((6, 32, 48, 3), 90, np.uint8)
        recorded[name] = random.uniform(-1, 1, (6, 3)).astype(np.float32)
        (tmp_path / "recordings").mkdir(exist_ok=True)
        np.savez(tmp_path / f"recordings/{name}.npz", frames=frames, actions=recorded[name])
    run(
        ImportRecordings(
            format=str(tmp_path / "my_reader.py"),
            source=tmp_path / "recordings",
            output=tmp_path / "d",
            workers=1,
        )
    )
    dataset = LeRobotDataset(tmp_path / "d")
    assert dataset.num_episodes == 2
    for index, actions in enumerate(recorded.values()):
        np.testing.assert_array_equal(dataset.actions(index), actions)
        assert dataset.state(index).shape == (6, 0)


def test_every_format_is_documented():
    table = PAGE.read_text().split("| format |")[1].split("\n\n")[0]
    named = [
        name
        for row in table.splitlines()[2:]
        for name in re.findall(r"`([\w-]+)`", row[: row.index("|", 1)])
    ]
    assert sorted(named) == sorted(READERS)


@pytest.mark.parametrize("command", ["import", "prepare"])
def test_every_format_is_in_the_help(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert [name for name in READERS if name not in said] == []


def test_a_format_that_records_its_commands_has_none_to_fill(tmp_path):
    source = reader_of("robomimic").example(tmp_path)
    with pytest.raises(ValueError, match="leave --commands out"):
        open_source("robomimic", source, commands="current_state")


def test_a_file_without_a_reader_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="offers no `open_recordings`"):
        reader_of(str(tmp_path / "empty.py"))


def test_the_first_whole_recording_describes_all():
    def describe(key: str) -> str:
        if key < "c":
            raise ValueError(f"{key} is broken")
        return key.upper()

    assert first_described(["a", "b", "c", "d"], describe) == "C"
    with pytest.raises(ValueError, match="a is broken"):
        first_described(["a", "b"], describe)


def test_a_plain_episode_and_its_spec_fit_each_other():
    episode = plain_episode(
        {"front": np.zeros((4, 32, 48, 3), np.uint8), "top": np.zeros((4, 16, 16, 3), np.uint8)},
        actions=np.ones((4, 3), np.float32),
        state=np.ones((4, 2), np.float32),
        depth_m={"front": np.ones((4, 32, 48), np.float32)},
    )
    spec = spec_like(episode, fps=5.0, robot_type="arm", source="lab")
    check_episode(episode, spec, where="here")
    assert [(c.name, c.height, c.width, c.has_depth) for c in spec.cameras] == [
        ("front", 32, 48, True),
        ("top", 16, 16, False),
    ]
    assert (spec.state_names, spec.action.known) == (("state_0", "state_1"), False)
    assert (len(spec.action.names), spec.action.action_hz) == (3, 5.0)
