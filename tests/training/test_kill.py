"""A kill leaves nothing half and loses nothing; more kills: `benchmarks/training/kill_test.py`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from roboscape.training import checkpoint
from roboscape.training.checkpoint import TrainingState, checkpoints, load_latest, save_checkpoint
from roboscape.training.optimizer import OptimizerConfig, make_optimizer

ROOT = Path(__file__).parents[2]


def make_state(step=0):
    model = nn.Linear(3, 3)
    return TrainingState(
        model=model,
        average=None,
        optimizer=make_optimizer(model, config=OptimizerConfig()),
        step=step,
    )


@pytest.mark.slow
def test_killed_six_times_equals_undisturbed():
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "training" / "kill_test.py"),
        "--kills",
        "6",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit for bit; no checkpoint lost or half" in done.stdout


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_half_one(tmp_path, monkeypatch):
    for step in (1, 2):
        save_checkpoint(make_state(step), tmp_path)

    class Killed(BaseException):
        pass

    def killed(path):
        (path / "state.json").unlink()
        raise Killed

    monkeypatch.setattr(checkpoint, "remove", killed)
    with pytest.raises(Killed):
        save_checkpoint(make_state(3), tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    monkeypatch.undo()
    assert load_latest(state := make_state(), tmp_path)
    assert state.step == 3
    assert not list(tmp_path.glob(".*")), "leftovers are cleared when the run goes on"


def test_a_half_written_checkpoint_is_never_taken_for_one(tmp_path, monkeypatch):
    save_checkpoint(make_state(1), tmp_path)
    half = tmp_path / ".step_00000002.77.tmp"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    assert load_latest(state := make_state(), tmp_path)
    assert state.step == 1
    assert not half.exists()


def test_a_checkpoint_is_not_written_twice(tmp_path):
    state = make_state(4)
    path = save_checkpoint(state, tmp_path)
    written = (path / "state.safetensors").stat().st_ino
    torch.nn.init.zeros_(state.model.weight)
    save_checkpoint(state, tmp_path)
    assert (path / "state.safetensors").stat().st_ino == written
