"""A folder of videos and tables: prepared, learnt from and imagined, as `prepare` itself says."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from roboscape.cli import main
from roboscape.core.video import count_frames, write_video
from roboscape.pipelines.prepare import Prepare

PREPARE = (
    "prepare folder recordings --output data/mine --image-size 32 --frame-hz 10 --length 6 "
    "--validation 0.5 --test 0 --workers 1"
)
LEARN = (
    "--tokenizer debug --world-model debug --tokenizer-steps 2 --world-model-steps 2 "
    "--proprioception debug --proprioception-steps 2"
)


def write_recordings(root: Path) -> None:
    """Four videos of a textured square that moves over texture, a table of actions each."""
    for number in range(4):
        random = np.random.default_rng(number)
        ground, thing = (
            np.kron(random.integers(0, 255, (side, side, 3)), np.ones((8, 8, 1))) for side in (8, 3)
        )
        frames = np.repeat(ground[None], 12, axis=0).astype(np.uint8)
        for step in range(12):
            frames[step, 20:44, 3 * step : 3 * step + 24] = thing
        write_video(root / f"episodes/take_{number}.mp4", frames, fps=10.0)
        table = pa.table({"action.x": random.uniform(-1, 1, 12), "state.x": np.zeros(12)})
        csv.write_csv(table, root / f"episodes/take_{number}.csv")


@pytest.mark.slow
def test_the_command_that_prepare_prints_leads_to_an_imagined_video(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    write_recordings(tmp_path / "recordings")
    main(PREPARE.split())
    assert (tmp_path / "data/mine/annotations/card.html").is_file()
    (line,) = [line for line in caplog.text.splitlines() if line.startswith("Then: roboscape ")]
    main([*line.split()[2:], *LEARN.split()])
    assert count_frames(tmp_path / "runs/mine/imagined.mp4") >= 4


@pytest.mark.parametrize("change", [{"format": "folder"}, {"output": Path("x")}, {"frame_hz": 0.0}])
def test_a_missing_or_needless_output_is_said(change, tmp_path):
    given = {"format": "lerobot", "source": tmp_path} | change
    with pytest.raises(ValueError, match="expected --"):
        Prepare(**given)
