from dataclasses import dataclass

import pytest

from roboscape.core.runs import command_line, open_run


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True, kw_only=True)
class Run:
    steps: int = 10
    model: Inner = Inner()


def test_a_folder_holds_one_run_and_says_what_differs(tmp_path):
    open_run(tmp_path, Run())
    open_run(tmp_path, Run())
    with pytest.raises(ValueError, match=r"steps: was 10, now 11; model\.depth: was 2, now 3"):
        open_run(tmp_path, Run(steps=11, model=Inner(depth=3)))
    assert "torch" in (tmp_path / "environment.txt").read_text()


def test_the_command_is_written_as_one_types_it(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["/a/bin/roboscape", "evaluate", "--output", "my runs"])
    assert command_line() == "roboscape evaluate --output 'my runs'"
    open_run(tmp_path, Run())
    assert "evaluate --output 'my runs'\n" in (tmp_path / "environment.txt").read_text()
