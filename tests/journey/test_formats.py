"""Examples of every format, and real recordings, from import to rollout, by documented commands."""

from pathlib import Path

import pytest

from roboscape.cli import main
from roboscape.core.video import count_frames
from roboscape.dataset.reader import LeRobotDataset
from roboscape.sources.readers.protocol import READERS, reader_of
from roboscape.tokenizer.model import Tokenizer

RECORDED = Path(__file__).parents[3] / "shared/data"
pytestmark = pytest.mark.slow


def roboscape(line: str) -> None:
    main(line.split())


@pytest.mark.parametrize("name", READERS)
def test_an_example_from_import_to_rollout(name, tiny_bundle, tmp_path, capsys):
    source = reader_of(name).example(tmp_path / "recordings")
    journey(name, source, tiny_bundle.tokenizer, tmp_path)
    count = len(reader_of(name).open_recordings(source).keys())
    assert f"episodes     {count}, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("droid", "droid"),
        ("rlds", "bridge_rlds"),
        ("bair", "bair"),
        ("metaworld-npz", "metaworld_npz"),
    ],
)
def test_real_recordings_from_import_to_rollout(name, folder, tiny_bundle, tmp_path):
    source = RECORDED / folder
    if not source.is_dir():
        pytest.skip(f"no recordings in {source}")
    journey(name, source, tiny_bundle.tokenizer, tmp_path)
    keys = reader_of(name).open_recordings(source).keys()
    assert LeRobotDataset(tmp_path / "data").num_episodes == len(keys)


def journey(name: str, source: Path, tokenizer: Tokenizer, root: Path) -> None:
    """Every command in order; a lone recording is both trained on and validated on."""
    tokenizer.save_pretrained(root / "tokenizer")
    keys = reader_of(name).open_recordings(source).keys()
    shares = {"data": 0.4} if len(keys) > 1 else {"data": 0.0, "again": 0.999}
    clips = "--length 4 --stride 1 --every 1 --min-path-px 0 --max-disorder 1"
    for data, share in shares.items():
        roboscape(
            f"import {name} {source} --output {root}/{data} --workers 1 --test 0 "
            f"--image-size {tokenizer.config.image_size} --validation {share}"
        )
        roboscape(f"inspect {root}/{data}")
        roboscape(f"annotate {root}/{data} --depth none --tracks lucas_kanade")
        roboscape(f"clips {root}/{data} --tracks lucas_kanade {clips}")
    spec = LeRobotDataset(root / "data").spec
    depth, branches = ("recorded", "both") if spec.cameras[0].has_depth else ("none", "rgb")
    proprioception = ""
    if spec.state_names:
        roboscape(
            f"train proprioception debug --dataset {root}/data "
            f"--validation {root}/{list(shares)[-1]} --output {root}/arm --fit.steps 2"
        )
        proprioception = f"--proprioception {root}/arm/proprioception"
    roboscape(
        f"tokenize {' '.join(f'{root}/{data}' for data in shares)} --tokenizer {root}/tokenizer "
        f"--output {root}/tokens --depth {depth} --tracks lucas_kanade --stride 1 "
        f"{proprioception}"
    )
    roboscape(
        f"train world-model debug --tokens {root}/tokens --output {root}/run --fit.steps 1 "
        f"--model.max-frames 4 --model.branches {branches}"
    )
    roboscape(
        f"bundle --tokenizer {root}/tokenizer --world-model {root}/run/world_model "
        f"--tokens {root}/tokens --output {root}/bundle"
    )
    roboscape(
        f"rollout --checkpoint {root}/bundle --dataset {root}/data --horizon 5 "
        f"--output {root}/imagined.mp4"
    )
    assert count_frames(root / "imagined.mp4") >= 5
