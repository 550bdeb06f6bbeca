import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from roboscape.clips.at_frames import AtFrames
from roboscape.clips.at_frames import run as at_frames
from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.policies.lerobot.environment import lerobot_checkpoint, lerobot_python
from roboscape.policies.lerobot.train import (
    ActRun,
    DiffusionRun,
    Pi0Run,
    SmolVlaRun,
    run,
    trainer_flags,
)
from roboscape.policies.lerobot.view import write_view
from roboscape.policies.opening import open_policy
from roboscape.policies.remote.description import ServerDescription, read_description

STAND_IN = """#!{python}
# In place of lerobot's trainer: leaves a checkpoint and what it was asked.
import json, os, pathlib, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[4:])
if os.environ.get("FAIL"):
    print("lerobot says no")
    sys.exit(3)
if "config_path" in flags:
    folder = pathlib.Path(flags["config_path"]).parents[2]
else:
    folder = pathlib.Path(flags["output_dir"]) / "checkpoints"
for place in ("pretrained_model", "training_state"):
    (folder / "last" / place).mkdir(parents=True, exist_ok=True)
(folder / "last" / "pretrained_model" / "train_config.json").write_text("{{}}")
(folder / "last" / "training_state" / "training_step.json").write_text(
    json.dumps({{"step": int(os.environ.get("STEPS", flags["steps"]))}})
)
said = {{"words": sys.argv[1:4], "offline": os.environ.get("HF_HUB_OFFLINE"), **flags}}
with (folder / "asked.jsonl").open("a") as lines:
    print(json.dumps(said), file=lines)
"""


@pytest.fixture
def config(lift_train_dataset, tmp_path):
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    return DiffusionRun(
        dataset=lift_train_dataset.root, output=tmp_path / "run", steps=6, python=python
    )


def asked(config):
    lines = (config.output / "lerobot" / "checkpoints" / "asked.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_trainer_is_asked_for_a_small_policy_of_the_successful_episodes(config):
    last = run(config)
    (flags,) = asked(config)
    assert flags["words"] == ["-u", "-m", "lerobot.scripts.lerobot_train"]
    assert flags["policy.type"] == "diffusion"
    assert flags["policy.pretrained_backbone_weights"] == "null"
    assert flags["policy.down_dims"] == "[64,128,256]"
    assert (flags["policy.horizon"], flags["policy.n_action_steps"]) == ("16", "8")
    assert flags["policy.n_obs_steps"] == "1"
    # Of the two episodes of the training split only the second one shows success.
    assert flags["dataset.episodes"] == "[1]"
    assert flags["dataset.root"] == str(config.output / "dataset")
    assert flags["offline"] == "1"
    assert last == lerobot_checkpoint(config.output)


def test_the_run_says_what_its_policies_take_and_give(config, lift_train_dataset):
    run(config)
    described = read_description(config.output / "policy_spec.json")
    assert isinstance(described, ServerDescription)
    assert described.spec.action == lift_train_dataset.spec.action
    assert described.spec.cameras == ("front",)
    assert described.spec.state_names == ("eef_x", "eef_y")
    assert (described.spec.frames, described.spec.chunk, described.spec.executed) == (1, 8, 8)
    assert described.seeded


def test_rows_of_an_imagined_dataset_are_taken_as_native_actions(config, tmp_path):
    stacked = tmp_path / "stacked"
    at_frames(AtFrames(dataset=config.dataset, output=stacked, stride=4))
    imagined = replace(config, dataset=stacked)
    run(imagined)
    (flags,) = asked(imagined)
    assert (flags["policy.horizon"], flags["policy.n_action_steps"]) == ("16", "2")
    spec = read_description(config.output / "policy_spec.json").spec
    assert spec.action == LeRobotDataset(config.dataset).spec.action
    assert (spec.chunk, spec.executed) == (8, 8)


def test_more_rows_than_a_chunk_has_and_none_are_refused(config):
    with pytest.raises(ValueError, match="1 <= executed"):
        replace(config, executed=0)
    with pytest.raises(ValueError, match="executed <= chunk"):
        run(replace(config, chunk=4))


def test_a_run_that_was_interrupted_goes_on_from_its_last_checkpoint(config, monkeypatch):
    monkeypatch.setenv("STEPS", "3")
    run(config)
    monkeypatch.delenv("STEPS")
    run(config)
    first, second = asked(config)
    assert "resume" not in first
    assert second["resume"] == "true"
    assert second["config_path"].endswith("last/pretrained_model/train_config.json")
    run(config)
    assert len(asked(config)) == 2


def test_a_folder_without_a_checkpoint_is_begun_anew(config):
    (config.output / "lerobot" / "logs").mkdir(parents=True)
    run(config)
    assert not (config.output / "lerobot" / "logs").exists()


def test_other_flags_do_not_continue_a_run(config):
    run(config)
    with pytest.raises(UserError, match="another configuration"):
        run(replace(config, batch_size=7))


def test_a_trainer_that_fails_is_quoted(config, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match=r"code 3 .*train\.log.*\nlerobot says no"):
        run(config)
    assert "lerobot says no" in (config.output / "train.log").read_text()


def test_further_flags_win(config):
    config = replace(config, extra=("policy.down_dims=[32,64,128]", "policy.crop_shape=[60,60]"))
    flags = trainer_flags(config, view=config.output, episodes=[0], executed=8, last=None)
    assert "--policy.crop_shape=[60,60]" in flags
    assert [flag for flag in flags if "down_dims" in flag] == ["--policy.down_dims=[32,64,128]"]
    with pytest.raises(UserError, match="flags as name=value"):
        replace(config, extra=("--policy.x=1",))


@pytest.mark.parametrize("kind", [ActRun, SmolVlaRun, Pi0Run])
def test_the_other_policies_give_the_same_chunks(config, kind):
    other = kind(dataset=config.dataset, output=config.output)
    flags = trainer_flags(other, view=config.output, episodes=[0], executed=8, last=None)
    assert f"--policy.type={kind.kind}" in flags
    assert {"--policy.chunk_size=16", "--policy.n_action_steps=8"} <= set(flags)


def test_a_view_has_the_asked_cameras_without_depth_and_links_to_the_files(
    lift_train_dataset, tmp_path
):
    view = tmp_path / "view"
    write_view(lift_train_dataset.root, view, cameras=["front"])
    write_view(lift_train_dataset.root, view, cameras=["front"])
    info = json.loads((view / "meta" / "info.json").read_text())
    images = [key for key in info["features"] if key.startswith("observation.images")]
    assert images == ["observation.images.front"]
    stats = json.loads((view / "meta" / "stats.json").read_text())
    assert "observation.images.front_depth" not in stats
    whole = json.loads((lift_train_dataset.root / "meta" / "info.json").read_text())
    assert "observation.images.front_depth" in whole["features"]
    for file in lift_train_dataset.root.rglob("*.parquet"):
        assert (view / file.relative_to(lift_train_dataset.root)).samefile(file)
    (seen, expected) = (LeRobotDataset(root).actions(1) for root in (view, lift_train_dataset.root))
    assert (seen == expected).all()
    with pytest.raises(UserError, match=r"no observation\.images\.left"):
        write_view(lift_train_dataset.root, view, cameras=["left"])


def test_without_lerobots_environment_it_is_said_how_to_make_it(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="expected a Python with lerobot"):
        lerobot_python(tmp_path / "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("roboscape.policies.lerobot.environment.ENVIRONMENT", ".venv-none")
    with pytest.raises(UserError, match="make lerobot"):
        lerobot_python(None)


def test_a_checkpoint_of_lerobots_is_opened_through_a_server(config):
    run(config)
    with pytest.raises(UserError, match="serve-policy"):
        open_policy(str(config.output))


def test_a_server_of_lerobots_takes_the_place_of_the_command(tmp_path):
    """The same process goes on, in the other environment, with the package to import."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$$ $PYTHONPATH $*"\n')
    python.chmod(0o755)
    code = (
        "import os, pathlib, sys; print(os.getpid(), flush=True); "
        "from roboscape.policies.lerobot.environment import become; "
        f"become(pathlib.Path({str(python)!r}), ['module', '--port', '1'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = ran.stdout.splitlines()
    process, source, *words = after.split()
    assert process == before
    assert (Path(source) / "roboscape" / "cli.py").is_file()
    assert words == ["-u", "-m", "module", "--port", "1"]


def test_a_dataset_without_that_camera_is_refused(config):
    with pytest.raises(UserError, match="has no camera"):
        run(replace(config, cameras=("left",)))
