"""Every format's example from import to rollout, by the commands that the documentation names."""

from pathlib import Path

import numpy as np
import pytest

from roboscape.cli import main
from roboscape.core.video import count_frames
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import FIRST_VALIDATION_SEED
from roboscape.sources.readers.prepare import seed_of_key
from roboscape.sources.readers.protocol import READERS, SPLIT_UNSAID, reader_of

pytestmark = pytest.mark.slow


def roboscape(line: str) -> None:
    main(line.split())


def share_that_parts(keys: list[str]) -> float:
    """A share for validation that leaves something on both sides."""
    for share in np.linspace(0.02, 0.98, 49):
        seeds = [
            seed_of_key(key, said=SPLIT_UNSAID, validation=float(share), test=0.0) for key in keys
        ]
        if min(seeds) < FIRST_VALIDATION_SEED <= max(seeds):
            return float(share)
    raise AssertionError(f"no share parts {keys}")


@pytest.mark.parametrize("name", READERS)
def test_from_import_to_rollout(name, tiny_bundle, tmp_path, capsys):
    source = reader_of(name).example(tmp_path / "recordings")
    tiny_bundle.tokenizer.save_pretrained(tmp_path / "tokenizer")
    data, store, model = (tmp_path / part for part in ("data", "tokens", "run"))
    size = tiny_bundle.tokenizer.config.image_size
    keys = reader_of(name).open_recordings(source).keys()
    roboscape(
        f"import {name} {source} --output {data} --image-size {size} --workers 1 --test 0 "
        f"--validation {share_that_parts(keys)}"
    )
    roboscape(f"inspect {data}")
    assert f"episodes     {len(keys)}, " in capsys.readouterr().out
    roboscape(f"annotate {data} --depth none --tracks lucas_kanade")
    clips = "--length 4 --stride 1 --every 1 --min-path-px 0 --max-disorder 1"
    roboscape(f"clips {data} --tracks lucas_kanade {clips}")
    with_depth = LeRobotDataset(data).spec.cameras[0].has_depth
    depth, branches = ("recorded", "both") if with_depth else ("none", "rgb")
    roboscape(
        f"tokenize {data} --tokenizer {tmp_path}/tokenizer --output {store} --depth {depth} "
        "--tracks lucas_kanade --stride 1"
    )
    roboscape(
        f"train world-model debug --tokens {store} --output {model} --fit.steps 1 "
        f"--model.max-frames 4 --model.branches {branches}"
    )
    roboscape(
        f"bundle --tokenizer {tmp_path}/tokenizer --world-model {model}/world_model "
        f"--tokens {store} --output {tmp_path}/bundle"
    )
    video = tmp_path / "imagined.mp4"
    roboscape(
        f"rollout --checkpoint {tmp_path}/bundle --dataset {data} --output {video} --horizon 5"
    )
    assert count_frames(video) >= 5
    assert Path(data / "annotations/clips.parquet").exists()
