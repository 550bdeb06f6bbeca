"""Whose control signals a store holds: new ones, with a model of the arm, or a checkpoint's."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.controls.task_text import task_vectors
from roboscape.core.errors import UserError
from roboscape.core.pretrained import resolve
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens import build
from roboscape.tokens.state_reader import OBJECT_READER, StateReader, StateReaderConfig
from roboscape.tokens.store import EPISODES, TokenStore
from roboscape.tokens.weights import encoder_sha256

SHAPE = {"length": 4, "stride": 2}


@pytest.fixture
def spec(files):
    return LeRobotDataset(files.train).spec


@pytest.fixture
def store(config):
    return build.run(config)


def arm(spec, **changes):
    torch.manual_seed(0)
    known = {"convention": spec.action, "state_names": spec.state_names} | changes
    model = Proprioception(ProprioceptionConfig(width=8, **known))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def imagining(config, spec, tmp_path):
    arm(spec).save_pretrained(tmp_path / "arm")
    return replace(config, output=tmp_path / "tokens", proprioception=str(tmp_path / "arm"))


@pytest.fixture
def told(config, spec, tmp_path):
    """Tokens for an arm model that is told of objects, and what reads them."""
    arm(spec, object_names=("cube_x", "cube_y")).save_pretrained(tmp_path / "arm")
    torch.manual_seed(1)
    tokenizer = resolve(config.tokenizer)
    shape = Tokenizer.from_pretrained(tokenizer).config
    reader = StateReaderConfig(
        state_names=("cube_x", "cube_y"),
        grid=(shape.tokens_per_side, shape.tokens_per_side),
        code_bits=shape.code_bits,
        encoder_sha256=encoder_sha256(tokenizer),
        width=8,
    )
    StateReader(reader).save_pretrained(tmp_path / "reader")
    return replace(
        config,
        output=tmp_path / "tokens",
        proprioception=str(tmp_path / "arm"),
        object_reader=str(tmp_path / "reader"),
    )


def some_clips(store):
    return store.batch(np.array([0, 3, 9]), split="train", **SHAPE)


def test_a_store_imagines_the_state_of_its_clips(imagining, store, spec):
    found = build.run(imagining)
    clips, commanded = some_clips(found), some_clips(store)
    assert torch.equal(clips.rgb, commanded.rgb)
    statistics = found.config.controls
    raw = clips.controls * torch.tensor(statistics.std) + torch.tensor(statistics.mean)
    told = 2 * len(spec.action.names)
    # The first frame's state is the recorded one, told by both kinds of signal.
    plain = store.config.controls
    known = commanded.controls * torch.tensor(plain.std) + torch.tensor(plain.mean)
    torch.testing.assert_close(raw[:, 0, told : told + 2], known[:, 1, -2:])
    assert not torch.allclose(raw[:, 1, told : told + 2], known[:, 1, -2:])
    torch.testing.assert_close(raw[:, 1:, :told], known[:, 1:, :told])


def test_an_opened_store_needs_no_other_folder(imagining, tmp_path):
    before = some_clips(build.run(imagining)).controls
    (tmp_path / "arm").rename(tmp_path / "elsewhere")
    torch.testing.assert_close(some_clips(TokenStore(imagining.output)).controls, before)


def test_a_checkpoint_keeps_its_signals(imagining, config, tmp_path):
    first = build.run(imagining)
    first.controls.save(tmp_path / "checkpoint")
    tuned = replace(config, output=tmp_path / "tuned", controls=str(tmp_path / "checkpoint"))
    torch.testing.assert_close(some_clips(build.run(tuned)).controls, some_clips(first).controls)


@pytest.mark.parametrize("arm_is_imagined", [False, True])
def test_clips_end_with_their_episodes_task(imagining, config, store, tmp_path, arm_is_imagined):
    asked = replace(imagining if arm_is_imagined else config, output=tmp_path / "told")
    told = build.run(replace(asked, task_size=8))
    plain = build.run(replace(asked, output=tmp_path / "plain"))
    clips = some_clips(told)
    assert told.control_size == plain.control_size + 8
    assert torch.equal(clips.controls[..., :-8], some_clips(plain).controls)
    expected = task_vectors(["push"], size=8).expand(3, SHAPE["length"], -1)
    assert torch.equal(clips.controls[..., -8:], expected)


def test_an_episode_keeps_its_own_task(config, store, tmp_path):
    told = build.run(replace(config, output=tmp_path / "told", task_size=8))
    table = pq.read_table(told.root / EPISODES)
    tasks = pa.array(["push", "pull", *["push"] * (table.num_rows - 2)])
    place = table.schema.get_field_index("task")
    pq.write_table(table.set_column(place, "task", tasks), told.root / EPISODES)
    episodes, _ = (
        (changed := TokenStore(told.root)).clips("train", **SHAPE).locate(np.array([0, 8, 16]))
    )
    assert episodes.tolist() == [0, 1, 2]
    found = changed.batch(np.array([0, 8, 16]), split="train", **SHAPE).controls[:, 0, -8:]
    assert torch.equal(found, task_vectors(["push", "pull", "push"], size=8))


def test_a_checkpoint_of_another_stride_is_refused(store, config, tmp_path):
    statistics = replace(store.config.controls, stride=1, mean=(0.0,) * 6, std=(1.0,) * 6)
    ControlEncoder(statistics).save(tmp_path / "checkpoint")
    other = replace(config, output=tmp_path / "t", controls=str(tmp_path / "checkpoint"))
    with pytest.raises(ValueError, match="at stride 1"):
        build.run(other)


def test_both_at_once_are_refused(config):
    for changes in ({"proprioception": "arm"}, {"task_size": 8}):
        with pytest.raises(ValueError, match="a checkpoint brings its own"):
            replace(config, **changes, controls="checkpoint")


def test_no_checkpoint_is_no_checkpoint(config, tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a checkpoint"):
        build.run(replace(config, output=tmp_path / "t", controls=str(tmp_path)))


def test_another_arm_is_refused(config, spec, tmp_path):
    arm(spec, state_names=("x", "z")).save_pretrained(tmp_path / "arm")
    with pytest.raises(ValueError, match="state dimensions"):
        build.run(replace(config, output=tmp_path / "t", proprioception=str(tmp_path / "arm")))


@pytest.mark.parametrize("length", [1, 3, 4, 5])
@pytest.mark.parametrize("kind", ["imagining", "told"])
def test_signals_from_the_store_are_those_that_the_encoder_makes(request, kind, length):
    """Stored for 4 frames; shorter clips read a part, longer ones are imagined as they are."""
    store = build.run(replace(request.getfixturevalue(kind), length=4))
    reader = store.object_reader
    assert (reader is not None) == (kind == "told")
    shape = {"length": length, "stride": 2}
    for split in ("train", "validation"):
        table = store.clips(split, **shape)
        chosen = np.arange(len(table))
        found = store.batch(chosen, split=split, **shape).controls
        rows = 2 * (length - 1)
        for row, (episode, start) in enumerate(zip(*table.locate(chosen), strict=True)):
            place = store.episodes.first_row[episode] + start
            shard = store._shard(int(store.episodes.shard[episode]))
            (expected,) = store.controls.encode(
                shard["actions"][place : place + rows][None],
                shard["state"][place][None],
                state_before=shard["state"][place - (start > 0)][None],
                objects=reader
                and reader.read(
                    *(torch.from_numpy(np.array(shard[x][place][None])) for x in ("rgb", "depth"))
                ),
            )
            torch.testing.assert_close(found[row], expected)


def test_an_arm_that_is_told_needs_a_reader_of_its_objects(told, config, spec, tmp_path):
    with pytest.raises(UserError, match="give --object-reader"):
        build.run(replace(told, object_reader=None))
    known = StateReader.from_pretrained(tmp_path / "reader").config
    for name, wrong in (
        ("names", replace(known, state_names=("ball_x", "ball_y"))),
        ("encoder", replace(known, encoder_sha256="0" * 64)),
    ):
        StateReader(wrong).save_pretrained(tmp_path / name)
        with pytest.raises(UserError, match="expected cube_x, cube_y and the encoder"):
            build.run(replace(told, object_reader=str(tmp_path / name)))


def test_a_checkpoint_brings_its_reader(told, config, tmp_path):
    made = build.run(told)
    checkpoint = tmp_path / "checkpoint"
    made.controls.save(checkpoint)
    made.object_reader.save_pretrained(checkpoint / OBJECT_READER)
    kept = build.run(replace(config, output=tmp_path / "kept", controls=str(checkpoint)))
    torch.testing.assert_close(some_clips(kept).controls, some_clips(made).controls)
    # Another reader's places are imagined anew.
    other = StateReader(made.object_reader.config)
    other.save_pretrained(checkpoint / OBJECT_READER)
    again = build.run(replace(config, output=tmp_path / "kept", controls=str(checkpoint)))
    assert again.config.imagined != made.config.imagined


def test_no_arm_is_imagined_while_clips_are_read(imagining, monkeypatch):
    store = build.run(imagining)
    monkeypatch.setattr(Proprioception, "imagine", None)
    assert some_clips(store).controls.shape == (3, 4, store.control_size)


def test_what_was_imagined_is_kept_and_of_another_arm_made_anew(imagining, config, spec, tmp_path):
    build.run(imagining)
    (first, *_), files = imagined(config.output.with_name("tokens"))
    before = first.stat().st_mtime_ns
    build.run(imagining)
    assert first.stat().st_mtime_ns == before
    other = arm(spec)
    torch.nn.init.normal_(other.change[2].bias)
    other.save_pretrained(tmp_path / "other")
    store = build.run(replace(imagining, proprioception=str(tmp_path / "other")))
    again, names = imagined(store.root)
    assert len(again) == len(set(again)) == 4 and names == {store.config.imagined} != files


def imagined(root):
    """The arrays of imagined states of a store, and their names."""
    found = sorted(root.glob("shard_*/imagined_*.npy"))
    return found, {path.name for path in found}
