import logging

import pytest
import torch

from roboscape.core import precision
from roboscape.core.files import read_json
from roboscape.training.checkpoint import TrainingState, save_checkpoint, saved_formats
from roboscape.training.formats import FORMATS, settle_formats
from roboscape.training.optimizer import OptimizerConfig, make_optimizer


def probe_says(monkeypatch, **formats):
    """What this machine computes fastest in."""
    monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: formats[kind])


def checkpoint_in(run, **formats):
    model = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(model, config=OptimizerConfig())
    state = TrainingState(model=model, average=None, optimizer=optimizer, step=3, formats=formats)
    return save_checkpoint(state, run / "checkpoints")


def test_a_new_run_takes_what_is_fast_and_writes_it_down(tmp_path, monkeypatch):
    probe_says(monkeypatch, matmul="bf16", convolution="fp32")
    both = ["convolution", "matmul"]
    found = settle_formats(tmp_path, "auto", kinds=both, device="cpu")
    assert found == {"convolution": "fp32", "matmul": "bf16"}
    assert read_json(tmp_path / FORMATS) == found
    # Not yet in a checkpoint: a run that has computed nothing may begin otherwise.
    assert settle_formats(tmp_path, "fp32", kinds=both, device="cpu")["matmul"] == "fp32"


def test_a_checkpoint_holds_the_formats(tmp_path):
    path = checkpoint_in(tmp_path, matmul="bf16")
    assert read_json(path / "state.json") == {"step": 3, "formats": {"matmul": "bf16"}}
    assert saved_formats(tmp_path / "checkpoints") == {"matmul": "bf16"}


@pytest.mark.parametrize(("begun", "fast"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_resumed_run_keeps_its_format_and_reports_it(tmp_path, monkeypatch, caplog, begun, fast):
    caplog.set_level(logging.INFO)
    checkpoint_in(tmp_path, matmul=begun)
    probe_says(monkeypatch, matmul=fast)
    found = settle_formats(tmp_path, "auto", kinds=["matmul"], device="cpu")
    assert found == {"matmul": begun} == read_json(tmp_path / FORMATS)
    assert f"going on in {begun}" in caplog.text and f"here {fast} would be chosen" in caplog.text


def test_a_resume_on_a_gpu_without_the_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    checkpoint_in(tmp_path, matmul="bf16")
    with pytest.raises(ValueError, match="computes in bf16, which device 'cuda' does not offer"):
        settle_formats(tmp_path, "auto", kinds=["matmul"], device="cuda")
    assert not (tmp_path / FORMATS).exists()
