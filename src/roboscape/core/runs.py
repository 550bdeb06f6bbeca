"""The folder of a run: what was asked, on what machine, with what code."""

import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

from roboscape.core.config import config_from_dict, save_config
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json
from roboscape.core.settings import differences


def open_run(folder: Path, config: Any) -> None:
    """Start or resume a run folder: write `config.json` and `environment.txt`.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    path = folder / "config.json"
    if path.is_file():
        earlier = config_from_dict(type(config), read_json(path), where=str(path))
        if earlier != config:
            different = differences(asdict(earlier), asdict(config))
            raise UserError(
                f"{folder} holds a run with another configuration ({different}). Resume it with "
                "the same flags, or choose another --output"
            )
    save_config(config, path)
    with atomic_path(folder / "environment.txt") as temporary:
        temporary.write_text(describe_environment())


def command_line() -> str:
    """The command that is running, as one types it: a program, a module or a file of Python."""
    program, *arguments = sys.argv
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None:
        typed = ["python", "-m", module.name.removesuffix(".__main__")]
    elif program.endswith(".py"):
        typed = ["python", program]
    else:
        typed = [Path(program).name]
    return shlex.join([*typed, *arguments])


def describe_environment() -> str:
    """Commit, uncommitted changes, machine and package versions."""
    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()})
    lines = [
        f"command: {command_line()}",
        f"commit: {git('rev-parse', 'HEAD') or 'not a git checkout'}",
        f"uncommitted:\n{git('status', '--short') or '  nothing'}",
        f"machine: {describe_machine()}",
        f"python: {platform.python_version()}, torch {torch.__version__}",
        *packages,
    ]
    return "\n".join(lines) + "\n"


def describe_machine() -> str:
    """The hardware class: cores, instruction set, GPU."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = f"{os.cpu_count()} CPU cores ({torch.backends.cpu.get_cpu_capability()})"
    return f"{cores}, {torch.get_num_threads()} threads, {', '.join(gpus) or 'no GPU'}"


def git(*arguments: str) -> str:
    """Output of a git command about the code's checkout; empty where there is none."""
    folder = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
