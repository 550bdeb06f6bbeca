import importlib.machinery
import sys
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


@pytest.mark.parametrize(
    ("module", "argv", "typed"),
    [
        (None, ["/a/bin/roboscape", "evaluate"], "roboscape evaluate"),
        (
            "studies.long_horizon.run",
            ["/a/long_horizon/run.py"],
            "python -m studies.long_horizon.run",
        ),
        ("roboscape.__main__", ["/a/roboscape/__main__.py", "demo"], "python -m roboscape demo"),
        (None, ["benchmarks/a.py"], "python benchmarks/a.py"),
    ],
)
def test_the_command_is_written_as_one_types_it(module, argv, typed, monkeypatch, tmp_path):
    spec = module and importlib.machinery.ModuleSpec(module, None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr("sys.argv", [*argv, "--output", "my runs"])
    assert command_line() == f"{typed} --output 'my runs'"
    open_run(tmp_path, Run())
    written = (tmp_path / "environment.txt").read_text()
    assert written.startswith(f"command: {typed} --output 'my runs'\n")
