"""lerobot's own environment, which `make lerobot` leaves beside the repository's files."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import roboscape
from roboscape.core.errors import UserError

ENVIRONMENT = ".venv-lerobot"


def lerobot_python(given: Path | None) -> Path:
    """The Python that has lerobot: the given one, or that of `.venv-lerobot`.

    Raises:
        ValueError: there is none.
    """
    if given is not None:
        if not given.is_file():
            raise UserError(f"expected a Python with lerobot at {given}, found none")
        return given
    repository = _source_folder().parent
    places = [folder / ENVIRONMENT / "bin" / "python" for folder in (Path.cwd(), repository)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            "lerobot's policies run in an environment of their own, and there is none at "
            f"{places[0]}; run `make lerobot` in the repository (6 GB), or give --python"
        )
    return found


def lerobot_checkpoint(folder: Path) -> Path | None:
    """The policy folder of a checkpoint of lerobot's, or of the newest of a run; None if neither.

    Args:
        folder: a checkpoint's `pretrained_model`, lerobot's output folder or the run around it.
    """
    newest = Path("checkpoints") / "last" / "pretrained_model"
    places = (folder, folder / newest, folder / "lerobot" / newest)
    found = next((place for place in places if (place / "train_config.json").is_file()), None)
    return None if found is None else found.resolve()


def run_there(
    python: Path, words: Sequence[str], *, log_file: Path | None = None, offline: bool
) -> None:
    """Run a module in lerobot's environment; what it prints is shown, and kept if asked for.

    Args:
        python: of that environment.
        words: after `python -m`.
        log_file: is appended to.
        offline: whether nothing may be fetched from the Hugging Face hub.

    Raises:
        ValueError: it failed; the message holds the last lines that it printed.
    """
    environment = {**os.environ, "PYTHONPATH": str(_source_folder()), **_settings(offline=offline)}
    last: list[str] = []
    with subprocess.Popen(
        [str(python), "-u", "-m", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Progress bars end their lines with a carriage return: shown as they come.
        bufsize=1,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sys.stderr.write(line)
                last = [*last[-14:], line]
                if log_file is not None:
                    with log_file.open("a") as kept:
                        kept.write(line)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise UserError(
            f"{words[0]} ended with code {process.returncode}"
            f"{f' ({log_file} holds all it said)' if log_file else ''}; its last lines:\n"
            f"{''.join(last)}"
        )


def become(python: Path, words: Sequence[str]) -> NoReturn:
    """Go on as a module in lerobot's environment: signals reach it, and no parent is left.

    Args:
        python: of that environment.
        words: after `python -m`.
    """
    environment = {**os.environ, "PYTHONPATH": str(_source_folder()), **_settings(offline=True)}
    sys.stderr.flush()
    os.execve(python, [str(python), "-u", "-m", *words], environment)


def _settings(*, offline: bool) -> Mapping[str, str]:
    """Environment variables of a run that sends no reports."""
    quiet = {"WANDB_MODE": "disabled", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**quiet, "HF_HUB_OFFLINE": "1"} if offline else quiet


def _source_folder() -> Path:
    """The folder that holds the package, to be imported from lerobot's environment."""
    assert roboscape.__file__ is not None
    return Path(roboscape.__file__).parents[1]
