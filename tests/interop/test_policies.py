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


SMALL = ("--extra", "policy.down_dims=[16,32]", "policy.spatial_softmax_num_keypoints=8")


def train_diffusion(dataset, run, *words):
    """A few steps of lerobot's trainer on a dataset."""
    ours(
        *("train", "policy", "diffusion", "--dataset", dataset, "--output", run, *words),
        *("--batch-size", 2, "--workers", 0, "--device", "cpu", "--python", sys.executable),
        *("--save-every", 1, *SMALL),
    )


@pytest.fixture(scope="module")
def trained(demonstrations, tmp_path_factory):
    run = tmp_path_factory.mktemp("policy") / "run"
    for steps in (2, 3):
        if steps == 3:
            # What a run may not change, an interrupted one did not have: only its length differs.
            config = json.loads((run / "config.json").read_text())
            (run / "config.json").write_text(json.dumps({**config, "steps": 3}))
        train_diffusion(demonstrations, run, "--cameras", *CAMERAS, "--steps", steps)
    return run


@pytest.fixture(scope="module")
def trained_on_imagined(tmp_path_factory):
    """A policy of episodes that the bundled model imagined, a row a frame."""
    root = tmp_path_factory.mktemp("imagined")
    ours(
        *("collect", "lift", "--output", root / "real", "--episodes", 2, "--seed", 5),
        *("--workers", 1, "--proportions.expert", 1, "--proportions.noisy-expert", 0),
        *("--proportions.miss", 0, "--proportions.random", 0),
    )
    ours(
        *("synthesize", "--checkpoint", "lift", "--dataset", root / "real", "--episodes", 2),
        *("--output", root / "data", "--device", "cpu"),
    )
    train_diffusion(root / "data", root / "run", "--steps", 1)
    return root / "run"


@pytest.fixture(scope="module")
def tiny_vision_language_model(tmp_path_factory):
    """A folder that transformers opens as a SmolVLM: two narrow layers, eleven words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SmolVLMConfig,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    marks = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
    }
    words = ["<pad>", "<unk>", "<s>", "</s>", *marks.values(), "Lift", "the", "cube"]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text = {"model_type": "llama", "vocab_size": len(words), "num_hidden_layers": 2}
    config = SmolVLMConfig(
        image_token_id=numbers["<image>"],
        pad_token_id=0,
        scale_factor=2,
        text_config={**narrow, **ends, **text, "num_key_value_heads": 1, "head_dim": 16},
        vision_config={**narrow, "num_hidden_layers": 1, "image_size": 64, "patch_size": 16},
    )
    folder = tmp_path_factory.mktemp("tiny_smolvlm")
    config.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=marks,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )
    SmolVLMProcessor(
        SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor(), chat_template=""
    ).save_pretrained(folder)
    return folder


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


def episodes_that_lerobot_evaluates(run, address, *words):
    """The number of episodes in the report of lerobot's own evaluation, which goes to the run."""
    subprocess.run(
        [
            *(sys.executable, "-m", "lerobot.scripts.lerobot_eval"),
            f"--policy.path={run / 'lerobot/checkpoints/last/pretrained_model'}",
            "--policy.device=cpu",
            "--env.discover_packages_path=roboscape.policies.lerobot.plugin",
            "--env.type=roboscape",
            f"--env.address={address}",
            *("--eval.batch_size=2", "--eval.n_episodes=2", f"--output_dir={run / 'eval'}"),
            *words,
        ],
        check=True,
        env=ENVIRONMENT,
    )
    return json.loads((run / "eval/eval_info.json").read_text())["overall"]["n_episodes"]


def test_lerobots_own_evaluation_runs_in_our_worlds(trained):
    words = ("serve-world", "--seconds", 1, "--world.batch", 2, "--world.image-size", 64)
    with serving(*words, "--world.cameras", *CAMERAS) as port:
        assert episodes_that_lerobot_evaluates(trained, f"ws://127.0.0.1:{port}") == 2


def test_lerobot_evaluates_a_policy_of_imagined_data_in_the_imagined_world(trained_on_imagined):
    words = ("serve-world", "--seconds", 1, "--world.batch", 2, "--world.bundle", "lift")
    with serving(*words) as port:
        words = (f"ws://127.0.0.1:{port}", "--env.frame_actions=true")
        assert episodes_that_lerobot_evaluates(trained_on_imagined, *words) == 2


def test_a_policy_of_imagined_data_acts_in_the_true_simulator(trained_on_imagined, tmp_path):
    words = ("serve-policy", "--policy", trained_on_imagined, "--device", "cpu")
    with serving(*words, "--python", sys.executable) as port:
        ours(
            *("run-policy", "--policy", f"ws://127.0.0.1:{port}", "--output", tmp_path / "acts"),
            *("--episodes", 2, "--seconds", 2, "--world.batch", 2),
        )
    assert len((tmp_path / "acts/episodes.jsonl").read_text().splitlines()) == 2


def test_a_tiny_smolvla_is_trained_served_and_acts(
    demonstrations, tiny_vision_language_model, tmp_path
):
    ours(
        *("train", "policy", "smolvla", "--dataset", demonstrations, "--output", tmp_path / "run"),
        *("--batch-size", 1, "--workers", 0, "--device", "cpu", "--python", sys.executable),
        *("--cameras", *CAMERAS, "--steps", 1, "--save-every", 1, "--extra"),
        *(f"policy.vlm_model_name={tiny_vision_language_model}", "policy.num_vlm_layers=2"),
        *("policy.load_vlm_weights=false", "policy.resize_imgs_with_padding=[64,64]"),
        "policy.expert_width_multiplier=0.5",
    )
    words = ("serve-policy", "--policy", tmp_path / "run", "--device", "cpu")
    with serving(*words, "--python", sys.executable) as port:
        for name in ("first", "second"):
            ours(
                *("run-policy", "--policy", f"ws://127.0.0.1:{port}", "--output", tmp_path / name),
                *("--episodes", 1, "--seconds", 1, "--world.batch", 1, "--world.image-size", 64),
                *("--world.cameras", *CAMERAS),
            )
    first, second = ((tmp_path / n / "episodes.jsonl").read_text() for n in ("first", "second"))
    assert len(first.splitlines()) == 1
    assert first == second
