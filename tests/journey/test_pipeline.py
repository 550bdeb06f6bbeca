"""The user's journey: every word of the command line in order, on real simulated recordings."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from roboscape.cli import main
from roboscape.evaluate.results import Results
from roboscape.rollout.bundle import Bundle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def roboscape(line: str) -> None:
    main(line.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All stages from recording to bundle, with the smallest models."""
    root = tmp_path_factory.mktemp("journey")
    for split, seed, episodes in (
        ("train", 10, 4),
        ("validation", 800_010, 2),
        ("test", 900_010, 2),
    ):
        roboscape(
            f"collect lift --output {root}/{split} --episodes {episodes} --seed {seed} --workers 2"
        )
        roboscape(f"annotate {root}/{split}")
        roboscape(f"clips {root}/{split}")
    roboscape(
        f"train tokenizer debug --dataset {root}/train --validation {root}/validation "
        f"--output {root}/tokenizer_run"
    )
    roboscape(
        f"train proprioception debug --dataset {root}/train --validation {root}/validation "
        f"--output {root}/proprioception_run"
    )
    roboscape(
        f"tokenize {root}/train {root}/validation {root}/test "
        f"--tokenizer {root}/tokenizer_run/tokenizer "
        f"--proprioception {root}/proprioception_run/proprioception --output {root}/tokens"
    )
    roboscape(f"train world-model debug --tokens {root}/tokens --output {root}/world_model_run")
    roboscape(
        f"bundle --tokenizer {root}/tokenizer_run/tokenizer "
        f"--world-model {root}/world_model_run/world_model --tokens {root}/tokens "
        f"--output {root}/bundle"
    )
    return root


def test_inspect_tells_what_was_recorded(folder, capsys, caplog):
    roboscape(f"inspect {folder}/train --video")
    said = capsys.readouterr().out + caplog.text
    assert "4 episodes" in said or re.search(r"episodes\W+4", said)
    assert "lucas_kanade" in said
    assert list(folder.rglob("*.png"))


def test_bundle_loads_and_is_small_and_no_pickle(folder):
    Bundle.from_pretrained(folder / "bundle")
    names = {path.suffix for path in (folder / "bundle").rglob("*") if path.is_file()}
    assert names <= {".safetensors", ".json", ".md"}


def test_rollout_writes_a_video_longer_than_the_window(folder):
    video = folder / "imagined.mp4"
    roboscape(
        f"rollout --checkpoint {folder}/bundle --dataset {folder}/test --horizon 20 "
        f"--output {video}"
    )
    assert video.stat().st_size > 1000


def test_evaluate_writes_figures_and_one_page(folder):
    out = folder / "evaluation"
    roboscape(f"evaluate --checkpoint {folder}/bundle --dataset {folder}/test --output {out}")
    results = Results.load(out)
    assert results.setting.split == "test"
    psnr = results.row("psnr")
    assert psnr.ceiling.estimate.mean > psnr.static_decoded.estimate.mean - 1
    page = (out / "report.html").read_text()
    assert "data:video/mp4;base64," in page
    assert not re.search(r"(src|href)=\"https?://[^\"]+\.(js|css|mp4|png)", page)


def test_training_goes_on_after_it_ended_without_change(folder):
    metrics = folder / "world_model_run" / "metrics.jsonl"
    before = metrics.read_text()
    roboscape(f"train world-model debug --tokens {folder}/tokens --output {folder}/world_model_run")
    lines = [json.loads(line)["step"] for line in before.splitlines()]
    assert max(lines) == 20
    assert metrics.read_text() == before


def test_killed_training_resumes_to_the_same_weights(folder):
    """kill -9 in the middle, the same command again: bit for bit the uninterrupted run."""
    run = folder / "killed_run"
    command = f"train world-model debug --tokens {folder}/tokens --output {run}".split()
    process = subprocess.Popen([sys.executable, "-m", "roboscape.cli", *command])
    while not (run / "checkpoints" / "step_00000010").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    main(command)
    whole, resumed = (
        load_file(folder / name / "world_model" / "model.safetensors")
        for name in ("world_model_run", "killed_run")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_dry_run_writes_nothing(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    roboscape(
        f"train world-model small --tokens {folder}/tokens --output {tmp_path}/run --dry-run "
        "--device cpu"
    )
    assert "parameters in one branch" in caplog.text
    assert not (tmp_path / "run").exists()


def test_the_wheel_works_outside_the_clone(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    subprocess.run([*map(str, pip), str(ROOT)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = (
        "import roboscape, roboscape.evaluate.report as r; print(roboscape.__file__); "
        "from roboscape.cli import main; main(['--help'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith(str(tmp_path))
    assert "train world-model" in said
    assert (tmp_path / "roboscape" / "evaluate" / "report.html").is_file()
