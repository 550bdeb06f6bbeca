import json

import torch

from roboscape.core import precision


def test_the_faster_format_is_chosen_and_a_tie_keeps_fp32():
    fast = precision.FormatSpeeds(fp32_gflops=100.0, bf16_gflops=200.0)
    slow = precision.FormatSpeeds(fp32_gflops=100.0, bf16_gflops=0.3)
    tie = precision.FormatSpeeds(fp32_gflops=100.0, bf16_gflops=105.0)
    choices = [speeds.choice for speeds in (fast, slow, tie)]
    assert choices == ["bf16", "fp32", "fp32"]


def test_the_flag_overrides_the_probe():
    assert precision.compute_dtype("fp32") == torch.float32
    assert precision.compute_dtype("bf16") == torch.bfloat16


def test_the_probe_is_remembered_per_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    precision.probe.cache_clear()
    measured = precision.probe("matmul", threads=1)
    precision.probe.cache_clear()
    assert measured.fp32_gflops > 0
    assert precision.probe("matmul", threads=1) == measured
    (path,) = (tmp_path / ".cache" / "roboscape").iterdir()
    assert len(json.loads(path.read_text())) == 1
    precision.probe.cache_clear()
