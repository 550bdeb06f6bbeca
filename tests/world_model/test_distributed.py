"""Two real gloo processes against one: the same losses, gradients, weights and checkpoints."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from roboscape.training.checkpoint import checkpoints
from roboscape.training.loop import read_metrics
from roboscape.world_model.model import WorldModel

WORKER = Path(__file__).with_name("distributed_worker.py")
spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
assert spec and spec.loader
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

LAYOUTS = {
    "ddp": {"parallel": "ddp"},
    "ddp_accumulated": {"parallel": "ddp", "accumulate": 2},
    "fsdp": {"parallel": "fsdp"},
    "fsdp_recomputed": {"parallel": "fsdp", "recompute": True, "accumulate": 2},
    "fsdp_masked": {"parallel": "fsdp", "objective": "masked"},
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run_in_two_processes(jobs):
    listed = json.dumps([(free_port(), job) for job in jobs])
    rendezvous = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), listed],
            env={**os.environ, **rendezvous, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)


GRADIENTS = [name for name in LAYOUTS if name != "fsdp_masked"]


@pytest.fixture(scope="module")
def gradients(token_store, tmp_path_factory):
    """One step of every layout, in the same two processes: starting them costs more."""
    root = tmp_path_factory.mktemp("gradients")
    common = {"kind": "gradients", "tokens": str(token_store.root), "output": str(root)}
    run_in_two_processes(
        [{**common, "path": str(root / name), **LAYOUTS[name]} for name in GRADIENTS]
    )
    return root


@pytest.fixture(scope="module")
def runs(token_store, tmp_path_factory):
    """Whole trainings by two processes, some of them begun or ended by one."""
    root = tmp_path_factory.mktemp("runs")
    for parallel in ("none", "fsdp"):
        output = root / f"begun_by_one_{parallel}"
        worker.stop(worker.tiny_run(token_store.root, output, parallel=parallel), number=3)
    layouts = {
        **LAYOUTS,
        "begun_by_one_none": LAYOUTS["fsdp"],
        "begun_by_one_fsdp": LAYOUTS["fsdp"],
    }
    jobs = [{"output": str(root / name), **layout} for name, layout in layouts.items()]
    for name, stop_at in (("begun_by_two", 3), ("stopped", 3), ("stopped", None)):
        jobs += [{"output": str(root / name), "stop_at": stop_at, **LAYOUTS["fsdp"]}]
    run_in_two_processes([{"kind": "train", "tokens": str(token_store.root), **j} for j in jobs])
    return root


def weights(folder):
    model = WorldModel.from_pretrained(folder / "world_model")
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def relative_distance(a, b):
    """Of all weights together: single ones with hardly any gradient follow its rounding."""
    return ((a - b).norm() / a.norm()).item()


@pytest.mark.parametrize("name", GRADIENTS)
def test_loss_and_gradients_of_two_processes_equal_one(gradients, token_store, tmp_path, name):
    config = worker.tiny_run(token_store.root, tmp_path / "run")
    worker.first_gradients(config, tmp_path / "gradients")
    whole, shared = load_file(tmp_path / "gradients"), load_file(gradients / name)
    assert whole.keys() == shared.keys()
    for key in whole:
        size = whole[key].abs().max().item()
        torch.testing.assert_close(shared[key], whole[key], rtol=1e-4, atol=1e-6 * max(size, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_training_on_two_processes_equals_one(runs, token_store, tmp_path, name):
    objective = LAYOUTS[name].get("objective", "next_frame")
    worker.train.train(worker.tiny_run(token_store.root, tmp_path / "run", objective=objective))
    assert relative_distance(weights(runs / name), weights(tmp_path / "run")) < 2e-3
    ours, theirs = (
        [{k: v for k, v in line.items() if k != "clock_s"} for line in read_metrics(path)]
        for path in (tmp_path / "run" / "metrics.jsonl", runs / name / "metrics.jsonl")
    )
    for our, their in zip(ours, theirs, strict=True):
        assert their == pytest.approx(our, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_resumed_by_as_many_processes_is_bit_for_bit(runs):
    assert torch.equal(weights(runs / "stopped"), weights(runs / "fsdp"))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["none", "fsdp"])
def test_saved_by_one_resumed_by_two(runs, parallel):
    resumed = weights(runs / f"begun_by_one_{parallel}")
    assert relative_distance(resumed, weights(runs / "fsdp")) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["none", "fsdp"])
def test_saved_by_two_resumed_by_one(runs, token_store, tmp_path, parallel):
    run = tmp_path / "run"
    (newest,) = checkpoints(runs / "begun_by_two" / "checkpoints")
    assert newest.name == "step_00000002"
    shutil.copytree(newest, run / "checkpoints" / newest.name)
    worker.train.train(worker.tiny_run(token_store.root, run, parallel=parallel))
    assert min(line["step"] for line in read_metrics(run / "metrics.jsonl")) == 3
    assert relative_distance(weights(run), weights(runs / "fsdp")) < 2e-3
