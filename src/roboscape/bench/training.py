"""The cost of a training step in time and memory, against the plain form."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from statistics import median

import torch

from roboscape.bench.flops import training_flops
from roboscape.bench.models import shape_of
from roboscape.bench.peaks import Peaks
from roboscape.bench.record import Figure
from roboscape.bench.timing import figure, ratio
from roboscape.bench.training_child import Form, Objective, Taken, Task
from roboscape.core.config import config_from_dict
from roboscape.core.precision import Precision
from roboscape.core.progress import progress


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The number of steps to measure."""

    rounds: int
    """Processes of each form, in turns."""
    steps: int
    """Timed steps of each process."""
    clips: int
    """Of a step."""
    precision: Precision
    """That ours computes in."""
    only_compared: bool = False
    """Leave out recomputing and the full loss, which the plain form has no twin of."""


FORMS: tuple[tuple[Form, Objective], ...] = (
    ("plain", "RGB"),
    ("ours", "RGB"),
    ("ours recomputed", "RGB"),
    ("ours", "all terms"),
)
COMPARED = (("plain", "RGB"), ("plain bf16", "RGB"), ("ours", "RGB"))
GPU_FORMS: tuple[tuple[Form, Objective], ...] = (("plain bf16", "RGB"), *FORMS)
"""On a GPU, where training is usually in bf16."""


def measure_training(*, preset: str, device: str, peaks: Peaks, effort: Steps) -> list[Figure]:
    """Seconds and memory of a step of every form, and what ours gains."""
    forms = GPU_FORMS if torch.device(device).type == "cuda" else FORMS
    if effort.only_compared:
        forms = tuple(form for form in forms if form in COMPARED)
    taken: dict[tuple[Form, Objective], list[Taken]] = {form: [] for form in forms}
    with progress(effort.rounds * len(forms), "training") as bar:
        for _ in range(effort.rounds):
            for form, objective in forms:
                task = Task(
                    form=form,
                    objective=objective,
                    preset=preset,
                    clips=effort.clips,
                    steps=effort.steps,
                    threads=torch.get_num_threads(),
                    device=device,
                    precision=effort.precision,
                )
                taken[form, objective].append(run_in_child(task))
                bar.update()
    costs = [
        found
        for (form, objective), runs in taken.items()
        for found in step_figures(
            runs, form=form, objective=objective, preset=preset, peaks=peaks, clips=effort.clips
        )
    ]
    for plain, _ in forms:
        for ours, objective in forms:
            if plain.startswith("plain") and ours.startswith("ours") and objective == "RGB":
                runs = {form: taken[(form, "RGB")] for form in (plain, ours)}
                costs += gains(runs[plain], runs[ours], name=f"{ours} RGB against {plain} RGB")
    return costs


def run_in_child(task: Task) -> Taken:
    """Take a task's steps in a fresh process.

    Raises:
        RuntimeError: the process failed; its own words are in the message.
    """
    command = [sys.executable, "-m", "roboscape.bench.training_child", json.dumps(asdict(task))]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(
            f"the training process of the {task.form} form ended with {answer.returncode}; a "
            f"negative number is the signal that ended it, -9 often too little memory\n"
            f"{answer.stderr}"
        )
    return config_from_dict(Taken, json.loads(answer.stdout), where="the child's answer")


def step_figures(
    runs: list[Taken],
    *,
    form: Form,
    objective: Objective,
    preset: str,
    peaks: Peaks,
    clips: int,
) -> list[Figure]:
    """Seconds and memory of one form's step."""
    shape = shape_of(preset, branches="rgb" if objective == "RGB" else "both")
    flops = training_flops(shape, rows=shape.max_frames - 1, batch=clips)
    name = f"training: {form} {objective}"
    found = [
        figure(
            f"{name}, forward and backward",
            [seconds for run in runs for seconds in run.pass_s],
            unit="s/step",
            limit=peaks.seconds(flops, kind="fp32" if form == "plain" else ""),
        ),
        figure(f"{name}, peak memory", [run.peak_mib for run in runs], unit="MiB"),
    ]
    if form == "ours":
        optimizer = [seconds for run in runs for seconds in run.optimizer_s]
        found.append(figure(f"{name}, optimiser", optimizer, unit="s/step"))
    return found


def gains(plain: list[Taken], ours: list[Taken], *, name: str) -> list[Figure]:
    """Time and memory of the plain form over ours, and the largest difference of their losses."""
    differences = [
        max(abs(a - b) / abs(a) for a, b in zip(one.losses, other.losses, strict=True))
        for one, other in zip(plain, ours, strict=True)
    ]
    seconds = [[median(run.pass_s) for run in runs] for runs in (plain, ours)]
    memory = [[run.peak_mib for run in runs] for runs in (plain, ours)]
    return [
        ratio(f"training: {name}, time", *seconds),
        ratio(f"training: {name}, memory", *memory),
        figure(
            f"training: {name}, largest difference of the losses",
            differences,
            unit="share",
        ),
    ]
