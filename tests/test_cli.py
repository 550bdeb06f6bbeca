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
