"""`scripts/mutants.py` on a small tree of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutants import read_mutants, wrong_places

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutants.py"
CODE = "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"
TESTS = """\
import pytest
from code_under_test import double, half


def test_double():
    assert double(3) == 6


def test_half_of_zero():
    assert half(0) == 0


@pytest.mark.skip
def test_skipped():
    pass
"""


def mutant(original, replacement, test, **changes):
    return {
        "file": "src/code_under_test.py",
        "original": original,
        "mutant": replacement,
        "tests": [f"tests/test_code.py::{test}"],
        "law": f"{original} holds",
    } | changes


@pytest.fixture
def attempt(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    (tmp_path / "src" / "code_under_test.py").write_text(CODE)
    (tmp_path / "tests" / "test_code.py").write_text(TESTS)

    def run(*mutants, options=()):
        lines = "".join(json.dumps(line) + "\n" for line in mutants)
        (tmp_path / "tests" / "mutants" / "some.jsonl").write_text(lines)
        command = [sys.executable, SCRIPT, "--root", tmp_path, *options]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (tmp_path / "src" / "code_under_test.py").read_text() == CODE, "checkout untouched"
        return answer

    return run


CAUGHT = mutant("2 * x", "3 * x", "test_double")
SURVIVES = mutant("x / 2", "x / 3", "test_half_of_zero")


def test_caught_and_surviving_changes_are_counted(attempt):
    answer = attempt(CAUGHT, SURVIVES)
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout.splitlines()[-1] == "2 planted, 1 caught, 1 survive"
    assert "survives: some.jsonl:2" in answer.stdout


def test_all_caught_is_success_and_is_remembered(attempt):
    for tried in (0, 1):
        answer = attempt(CAUGHT, SURVIVES, options=["--only", "2 * x"])
        assert answer.returncode == 0, answer.stderr
        assert f"{tried} were tried in this tree before" in answer.stdout
        assert answer.stdout.splitlines()[-1] == "1 planted, 1 caught, 0 survive"


def test_a_change_that_never_ends_is_caught_by_the_limit(attempt):
    endless = mutant("    return 2 * x", "    while True: pass", "test_double")
    answer = attempt(endless, options=["--limit-s", "10"])
    assert answer.stdout.splitlines()[-1] == "1 planted, 1 caught, 0 survive"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (mutant("return", "pass", "test_double"), "2 times, not once"),
        (mutant("x * x", "x", "test_double"), "0 times, not once"),
        (mutant("2 * x", "3 * x", "test_absent"), "not passed in the unchanged tree"),
        (mutant("2 * x", "3 * x", "test_skipped"), "test_skipped"),
        (mutant("2 * x", "3 *", "test_double"), "cannot run under this change"),
        (CAUGHT | {"tests": None}, "not a mutant"),
    ],
)
def test_a_wrong_list_is_an_error_that_names_its_line(attempt, wrong, message):
    answer = attempt(wrong)
    assert answer.returncode == 2
    assert message in answer.stderr


def test_every_planted_change_of_this_project_is_in_its_file_once():
    root = SCRIPT.parents[1]
    planted = list(read_mutants(root / "tests" / "mutants"))
    assert len(planted) >= 60
    assert wrong_places(root, planted) == []
