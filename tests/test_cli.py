import ast
import os
import subprocess
import sys

import pytest

from roboscape.cli import COMMANDS, main, parse


def test_help_names_every_command_and_imports_no_torch():
    code = (
        "import sys; from roboscape.cli import main; main(['--help']); "
        "assert 'torch' not in sys.modules and 'tyro' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert all(name in answer.stdout for name in COMMANDS)


def test_unknown_command_suggests_the_nearest():
    with pytest.raises(SystemExit, match="Did you mean `roboscape collect lift`"):
        main(["collect", "lft"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_explains_each_flag(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(name, ["--help"])
    assert stop.value.code == 0
    assert f"roboscape {name}" in capsys.readouterr().out


def test_a_users_mistake_ends_without_traceback(tmp_path, caplog):
    with pytest.raises(SystemExit) as stop:
        main(["inspect", str(tmp_path / "nowhere")])
    assert stop.value.code == 1
    assert "nowhere" in caplog.text


def test_a_bug_keeps_its_traceback(monkeypatch):
    def run(config):
        return int("three")

    monkeypatch.setattr("roboscape.bench.bench.run", run)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["bench"])


WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "4000"}
SEEN_BY_A_CHILD = """
import subprocess, sys
from roboscape.cli import main
assert "torch" not in sys.modules, "the setting would come too late"
main(["--version"])
import os
print({name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}, flush=True)
subprocess.run([sys.executable, "-c", "import os; print(dict(os.environ))"], check=True)
"""


@pytest.mark.parametrize(
    "users", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "20000"}], ids=str
)
def test_threads_of_commands_and_their_processes_sleep_unless_the_user_says_otherwise(users):
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    answer = subprocess.run(
        [sys.executable, "-c", SEEN_BY_A_CHILD],
        env=plain | users,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    _, own, childs = answer.stdout.splitlines()
    expected = users or WAITING
    for seen in (own, childs):
        found = {name: value for name, value in ast.literal_eval(seen).items() if value}
        assert {name: found[name] for name in WAITING if name in found} == expected


def test_the_thread_library_reads_the_setting():
    """The threads' own report of their settings, in a process that computes with torch."""
    code = "from roboscape.cli import main; main(['--version']); import torch; torch.ones(9).sum()"
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=plain | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "GOMP_SPINCOUNT" not in answer.stderr:
        pytest.skip("torch computes with another thread library than libgomp here")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in answer.stderr
    assert "GOMP_SPINCOUNT = '4000'" in answer.stderr
