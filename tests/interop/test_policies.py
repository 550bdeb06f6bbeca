"""lerobot trains a policy on our recordings, acts in our worlds by it, and evaluates it itself.

Runs inside `.venv-lerobot` (`make test-lerobot`); roboscape's half runs as processes of `.venv`.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.lerobot

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = os.environ.get("ROBOSCAPE_PYTHON", str(REPOSITORY / ".venv/bin/python"))
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{REPOSITORY / 'src'}:{os.environ.get('PYTHONPATH', '')}",
}
CAMERAS = ("agentview", "wrist")


def ours(*words):
    """Run a command of roboscape's to its end."""
    subprocess.run([OURS, "-m", "roboscape.cli", *map(str, words)], check=True, env=ENVIRONMENT)


@contextlib.contextmanager
def serving(*words):
    """A server of roboscape's, as soon as it answers; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [OURS, "-m", "roboscape.cli", *map(str, words), "--port", str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        try:
            while True:
                assert process.poll() is None, "the server ended"
                with contextlib.suppress(urllib.error.URLError):
                    if urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").status == 200:
                        break
                time.sleep(0.5)
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("demonstrations") / "lift"
    ours(
        *("collect", "lift", "--output", root, "--episodes", 2, "--horizon", 60, "--seed", 5),
        *("--cameras", *CAMERAS, "--image-size", 64, "--workers", 1),
        *("--proportions.expert", 1, "--proportions.noisy-expert", 0),
        *("--proportions.miss", 0, "--proportions.random", 0),
    )
    return root


@pytest.fixture(scope="module")
def trained(demonstrations, tmp_path_factory):
    run = tmp_path_factory.mktemp("policy") / "run"
    for steps in (2, 3):
        words = ["--steps", steps]
        if steps == 3:
            # What a run may not change, an interrupted one did not have: only its length differs.
            config = json.loads((run / "config.json").read_text())
            (run / "config.json").write_text(json.dumps({**config, "steps": 3}))
        ours(
            *("train", "policy", "diffusion", "--dataset", demonstrations, "--output", run),
            *("--cameras", *CAMERAS, "--batch-size", 2, "--workers", 0, "--device", "cpu"),
            *("--save-every", 1, "--python", sys.executable, *words),
            *("--extra", "policy.down_dims=[16,32]", "policy.spatial_softmax_num_keypoints=8"),
        )
    return run


def test_the_trainer_goes_on_from_its_checkpoint(trained):
    steps = sorted(int(place.name) for place in (trained / "lerobot/checkpoints").glob("0*"))
    assert steps == [1, 2, 3]


def test_a_policy_of_lerobots_acts_in_the_true_simulator(trained, tmp_path):
    def run(name, port):
        ours(
            *("run-policy", "--policy", f"ws://127.0.0.1:{port}", "--output", tmp_path / name),
            *("--episodes", 2, "--seconds", 2, "--world.batch", 2, "--world.image-size", 64),
            *("--world.cameras", *CAMERAS),
        )
        return (tmp_path / name / "episodes.jsonl").read_text()

    words = ("serve-policy", "--policy", trained, "--device", "cpu", "--python", sys.executable)
    with serving(*words) as port:
        first = run("first", port)
        assert len(first.splitlines()) == 2
        assert run("second", port) == first


def test_lerobots_own_evaluation_runs_in_our_worlds(trained, tmp_path):
    words = ("serve-world", "--seconds", 1, "--world.batch", 2, "--world.image-size", 64)
    with serving(*words, "--world.cameras", *CAMERAS) as port:
        subprocess.run(
            [
                *(sys.executable, "-m", "lerobot.scripts.lerobot_eval"),
                f"--policy.path={trained / 'lerobot/checkpoints/last/pretrained_model'}",
                "--policy.device=cpu",
                "--env.discover_packages_path=roboscape.policies.lerobot.plugin",
                "--env.type=roboscape",
                f"--env.address=ws://127.0.0.1:{port}",
                *("--eval.batch_size=2", "--eval.n_episodes=2", f"--output_dir={tmp_path}"),
            ],
            check=True,
            env=ENVIRONMENT,
        )
    content = json.loads((tmp_path / "eval_info.json").read_text())
    assert content["overall"]["n_episodes"] == 2
