"""A folder of videos and tables: prepared, learnt from and imagined, as `prepare` itself says."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from roboscape.cli import main, parse
from roboscape.core.config import load_config
from roboscape.core.files import read_json
from roboscape.core.video import count_frames, write_video
from roboscape.dataset.reader import LeRobotDataset, open_dataset
from roboscape.dataset.splits import SplitShares
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.verdict import Verdict
from roboscape.pipelines import learn, prepare
from roboscape.pipelines.prepare import Prepare
from roboscape.rollout.bundle import Bundle
from roboscape.tokens.store import TokenStore
from tests.small_dataset import convention, make_episode, spec

__all__ = ["convention", "make_episode", "spec"]

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


@pytest.fixture
def foreign(tmp_path, spec, make_episode):
    """A LeRobot dataset of four episodes as others write it: no columns and no file of ours."""
    still = replace(spec.cameras[1], name="another")
    spec = replace(spec, cameras=(still, spec.cameras[1]))
    root = tmp_path / "recordings"
    with DatasetWriter(root, spec) as writer:
        for number in range(4):
            episode = make_episode(number, length=13)
            frames = {"another": np.zeros((13, 32, 32, 3), np.uint8), "wrist": moving(number)}
            writer.add(replace(episode, depth_m={}, tracks={}, frames=frames))
    (root / "meta/roboscape.json").unlink()
    (path,) = (root / "meta/episodes").rglob("*.parquet")
    pq.write_table(
        pq.read_table(path).drop_columns(["seed", "split", "success", "behaviour"]), path
    )
    return root


def moving(seed: int) -> np.ndarray:
    """A textured square that moves over texture, 13 frames of 32 x 32."""
    random = np.random.default_rng(seed)
    ground, thing = (
        np.kron(random.integers(0, 255, (n, n, 3)), np.ones((4, 4, 1))) for n in (8, 3)
    )
    frames = np.repeat(ground[None], 13, axis=0).astype(np.uint8)
    for step in range(13):
        frames[step, 10:22, step : step + 12] = thing
    return frames


PLAIN = "--cuts none --motion none --segments none"


@pytest.mark.slow
def test_learning_takes_camera_stride_and_length_from_the_clip_index(foreign, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    main(
        f"prepare lerobot {foreign} --camera wrist --frame-hz 10 --length 5 --validation 0.3 "
        f"{PLAIN}".split()
    )
    tracked = [path.name for path in (foreign / "annotations/tracks_lucas_kanade").glob("*/")]
    assert tracked == ["wrist"]
    dataset = LeRobotDataset(foreign)
    splits = [dataset.episode_info(number).split for number in range(4)]
    assert sorted(splits) == ["train"] * 3 + ["validation"]
    main(f"learn {foreign} --output {tmp_path}/run {LEARN}".split())
    assert count_frames(tmp_path / "run/imagined.mp4") >= 4
    verdict = load_config(Verdict, tmp_path / "run/verdict.json")
    assert (verdict.training_episodes, verdict.validation_episodes) == (3, 1)
    assert verdict.clips > 1 and verdict.text() in caplog.text
    assert (tmp_path / "run/report.html").is_file()
    store = TokenStore(tmp_path / "run/tokens")
    assert (store.config.cameras, store.config.controls.stride) == (("wrist",), 2)
    assert store.config.annotator == "lucas_kanade"
    assert store.config.augmented_copies == 0 and len(store.episodes) == 4
    world_model = Bundle.from_pretrained(tmp_path / "run/checkpoint").world_model
    assert world_model.config.max_frames == 5
    with pytest.raises(ValueError, match="delete the file to choose anew"):
        prepare.choose_splits(dataset, SplitShares(validation=0.5))
    main(
        f"learn {foreign} --output {tmp_path}/both --cameras another wrist {LEARN} "
        "--augmented-copies 2".split()
    )
    assert len(TokenStore(tmp_path / "both/tokens").episodes) == 4 + 2 * 3
    both = Bundle.from_pretrained(tmp_path / "both/checkpoint").world_model.config
    assert both.views == ("another", "wrist")
    assert (tmp_path / "both/imagined.mp4").is_file()
    with pytest.raises(ValueError, match="no camera side; --cameras takes some of another, wrist"):
        learn.run(parse("learn", f"{foreign} --output {tmp_path}/no --cameras side".split()))


@pytest.mark.slow
def test_learning_from_a_bundle_takes_over_what_fits(foreign, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    prepare_foreign = (
        f"prepare lerobot {foreign} --camera wrist --length 4 --validation 0.3 {PLAIN}"
    )
    main([*prepare_foreign.split(), "--frame-hz", "10"])
    main(f"learn {foreign} --output {first} {LEARN}".split())
    start = f"--from {first}/checkpoint"
    main(f"learn {foreign} --output {again} {start} {LEARN}".split())
    # The same robot: signals, with the model of the arm, are the bundle's, and so are all weights.
    assert "its control signals are kept" in caplog.text
    assert "begins anew" not in caplog.text
    before, after = (Bundle.from_pretrained(run / "checkpoint") for run in (first, again))
    assert before.controls.statistics == after.controls.statistics
    assert after.world_model.config == before.world_model.config
    assert not (again / "proprioception").exists()
    assert TokenStore(again / "tokens").config.augmented_copies == 0
    # Another rate is another control signal.
    (foreign / "annotations/clips.parquet").unlink()
    main([*prepare_foreign.split(), "--frame-hz", "6.7"])
    main(f"learn {foreign} --output {other} {start} {LEARN}".split())
    assert "its control signals are replaced" in caplog.text
    assert "branches.0.embedding.control.weight" in caplog.text
    # A robot that is new to the bundle: its few recordings are seen in other crops too.
    assert TokenStore(other / "tokens").config.augmented_copies == 15
    slower, faster = (Bundle.from_pretrained(run / "checkpoint") for run in (again, other))
    assert (slower.controls.stride, faster.controls.stride) == (2, 3)
    run = read_json(other / "world_model/config.json")
    assert run["new_controls"] and run["fit"]["stop"]["figure"]
    assert (other / "verdict.json").is_file()


@pytest.mark.slow
def test_images_of_another_size_than_the_bundles_are_refused(foreign, tmp_path, capsys):
    main(f"prepare lerobot {foreign} --camera wrist --frame-hz 10 --length 5 {PLAIN}".split())
    with pytest.raises(ValueError, match="made for images of 128 x 128, camera `wrist`"):
        learn.run(parse("learn", f"{foreign} --output {tmp_path}/run --from lift".split()))


def test_what_no_clip_fits_into_is_said_before_anything_is_annotated(foreign, monkeypatch):
    monkeypatch.setattr(prepare, "annotate", None)
    monkeypatch.setattr(prepare, "inspect", None)
    with pytest.raises(ValueError, match=r"takes 61 rows, the longest has 13. Use --length 4 or"):
        main_run(f"prepare lerobot {foreign} --frame-hz 5 {PLAIN}")


@pytest.mark.parametrize(("asked", "said"), [(14.0, "20 frames a second"), (20.0, ""), (10.0, "")])
def test_a_rate_that_cannot_be_met_is_said_with_both_numbers(foreign, asked, said, caplog):
    stride = prepare.stride_that_fits(LeRobotDataset(foreign), frame_hz=asked, length=4)
    assert stride == round(20 / asked)
    assert (f"asked for {asked:g} frames" in caplog.text) == bool(said) and said in caplog.text


def test_too_few_episodes_to_train_and_validate_are_said(foreign):
    dataset = open_dataset(foreign, episodes=slice(0, 1))
    with pytest.raises(ValueError, match="no validation episode"):
        prepare.stride_that_fits(dataset, frame_hz=20.0, length=4)


def main_run(line: str) -> None:
    """A command, whose error is raised."""
    prepare.run(parse("prepare", line.split()[1:]))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "folder"},
        {"output": Path("x")},
        {"frame_hz": 0.0},
        {"tracks": "none"},
        {"validation": 1.5},
    ],
)
def test_settings_with_which_a_later_stage_would_fail_are_refused(change, tmp_path):
    given = {"format": "lerobot", "source": tmp_path} | change
    with pytest.raises(ValueError, match="expected "):
        Prepare(**given)
