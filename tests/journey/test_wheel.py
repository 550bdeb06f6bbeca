"""The wheel alone, in an environment without this checkout: its bundled model works."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run(*command: object, folder: Path) -> str:
    """What a command prints, run in a folder without this process's PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=kept | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-4000:]
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, which leaves no build folder here."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=leftovers)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copy, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def roboscape(wheel, tmp_path_factory) -> Path:
    """The command of an environment that holds the wheel and sees our environment's packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    library = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    # A line of a .pth file adds a folder, but not what the .pth files in that folder add: the
    # editable install of this checkout is one of those.
    (library / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    # Ours counts as installed for the environment, as its packages are on the path.
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel, folder=folder)
    where = run(
        folder / "bin" / "python", "-c", "import roboscape; print(roboscape)", folder=folder
    )
    assert str(library) in where
    return folder / "bin" / "roboscape"


def test_version_and_help_answer(roboscape, tmp_path):
    assert run(roboscape, "--version", folder=tmp_path).startswith("roboscape ")
    assert "usage: roboscape COMMAND" in run(roboscape, "--help", folder=tmp_path)
    assert "--checkpoint" in run(roboscape, "rollout", "--help", folder=tmp_path)


def test_the_demo_and_a_rollout_find_the_bundled_model_in_any_folder(roboscape, tmp_path):
    # A folder of the user's that happens to have the model's name is not taken for it.
    (tmp_path / "lift").mkdir()
    small = ["--episodes", 2, "--held-out", 2, "--steps", 2, "--workers", 1]
    run(roboscape, "demo", *small, folder=tmp_path)
    assert list((tmp_path / "runs" / "demo").rglob("*.html"))
    recorded = ["--dataset", "runs/demo/lift_test", "--horizon", 3]
    run(roboscape, "rollout", *recorded, "--output", "imagined.mp4", folder=tmp_path)
    assert (tmp_path / "imagined.mp4").stat().st_size > 0
