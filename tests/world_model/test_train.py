from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.clips.curriculum import CurriculumConfig
from roboscape.core import precision
from roboscape.core.files import read_json, write_json
from roboscape.core.runs import open_run
from roboscape.presets.world_model import PRESETS, debug, genie
from roboscape.tokens.store import TokenStore
from roboscape.training.loop import read_metrics
from roboscape.training.parallel import Ranks
from roboscape.world_model import train
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import MaskingConfig
from roboscape.world_model.train import run


@pytest.fixture
def config(token_store, tmp_path):
    preset = debug()
    return replace(
        preset,
        tokens=token_store.root,
        output=tmp_path / "run",
        device="cpu",
        precision="fp32",
        model=replace(preset.model, max_frames=6, width=16),
        masking=MaskingConfig(self_predicted=0.5, self_predicted_after=0),
        fit=replace(preset.fit, steps=4, log_every=1, evaluate_every=4, checkpoint_every=2),
    )


def weights(model):
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_trains_reports_validates_and_saves(config):
    trained = train.train(config)
    saved = WorldModel.from_pretrained(config.output / "world_model")
    assert torch.equal(weights(saved), weights(trained))
    assert saved.config.grid == (4, 4)
    assert saved.config.control_size == 12
    lines = read_metrics(config.output / "metrics.jsonl")
    first = next(line for line in lines if "loss_keypoint" in line)
    assert {"loss_rgb", "loss_depth", "loss_attention"} <= first.keys()
    # Untrained, every factor of 512 entries costs ln 512 nats.
    assert first["loss_rgb"] == pytest.approx(2 * 6.238, abs=0.01)
    validation = next(line for line in lines if "validation_rgb_loss" in line)
    factors = validation["validation_rgb_loss_factor0"] + validation["validation_rgb_loss_factor1"]
    assert validation["validation_rgb_loss"] == pytest.approx(factors, rel=1e-5)
    assert validation["validation_depth_copy_accuracy"] == 0


EASY_FIRST = CurriculumConfig(on=True, easy_share=0.5, blend_share=0.0)


@pytest.mark.parametrize("curriculum", [CurriculumConfig(), EASY_FIRST], ids=["alike", "easy"])
def test_four_steps_equal_two_and_two_bit_for_bit(config, graded_store, monkeypatch, curriculum):
    config = replace(config, tokens=graded_store.root, curriculum=curriculum)
    whole = weights(train.train(config))
    again = replace(config, output=config.output.with_name("resumed"))
    interrupt_at_two(again, monkeypatch)
    assert torch.equal(weights(train.train(again)), whole)


def test_a_start_without_a_control_field_gets_one_that_changes_nothing(config):
    started = train.train(config)
    wider = replace(config.model, control_field=8)
    again = replace(
        config,
        model=wider,
        start_from=str(config.output / "world_model"),
        output=config.output / "b",
    )
    model = train.make_model(again, store=TokenStore(config.tokens))
    batch = train.make_batches(model, TokenStore(config.tokens), config=again, ranks=Ranks())(0)[
        0
    ].content
    for before, after in zip(
        started(batch.targets.inputs), model(batch.targets.inputs), strict=True
    ):
        torch.testing.assert_close(after, before)
    muon = train.make_optimizer(model, config=again.optimizer, tables=model.tables()).param_groups[
        0
    ]
    field = model.branch(0).control_field
    assert field is not None
    assert any(field.middle.weight is parameter for parameter in muon["params"])


def interrupt_at_two(config, monkeypatch):
    """Train two of the steps, as if somebody had interrupted the third."""
    make_step = train.make_step

    def interrupted(*args, **kwargs):
        step = make_step(*args, **kwargs)

        def stop_at_two(microbatch):
            if microbatch.content.step == 2:
                raise KeyboardInterrupt
            return step(microbatch)

        return stop_at_two

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "make_step", interrupted)
        train.train(config)


@pytest.mark.parametrize(("begun", "fast"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_on_a_machine_with_another_fast_format_a_run_goes_on_as_it_began(
    config, monkeypatch, begun, fast
):
    config = replace(config, precision="auto")
    monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: begun)
    whole = weights(train.train(config))
    again = replace(config, output=config.output.with_name("resumed"))
    interrupt_at_two(again, monkeypatch)
    monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: fast)
    assert torch.equal(weights(train.train(again)), whole)
    other = replace(config, output=config.output.with_name("other"))
    assert not torch.equal(weights(train.train(other)), whole), "the formats differ in their bits"


def test_the_device_is_found_unless_named(config, token_store, monkeypatch):
    assert train.WorldModelRun(tokens=config.tokens, output=config.output).device == "auto"
    assert all(preset().device == "auto" for preset in PRESETS.values())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.make_model(config, store=token_store).branch(0).norm.weight.device.type == "cpu"
    with pytest.raises(ValueError, match="offers no CUDA GPU"):
        train.train(replace(config, device="cuda"))


def test_a_curriculum_reads_easy_clips_first(config, graded_store, monkeypatch):
    grades = []

    def watched(self, clips, **shape):
        table = self.clips("train", length=shape["length"], stride=shape["stride"])
        if shape["split"] == "train":
            grades.append(table.grade[np.searchsorted(table.ends, clips, side="right")])
        return batch(self, clips, **shape)

    batch = TokenStore.batch
    monkeypatch.setattr(TokenStore, "batch", watched)
    fit = replace(config.fit, steps=8, evaluate_every=8, checkpoint_every=8)
    train.train(replace(config, tokens=graded_store.root, curriculum=EASY_FIRST, fit=fit))
    assert len(grades) == 8
    assert not np.concatenate(grades[:4]).any(), "the first stage holds easy clips alone"
    assert np.concatenate(grades[4:]).any()


def test_a_curriculum_wants_graded_clips(config):
    with pytest.raises(ValueError, match=r"no-on"):
        train.train(replace(config, curriculum=EASY_FIRST))


def test_a_run_from_before_there_was_a_curriculum_goes_on(config):
    open_run(config.output, config)
    path = config.output / "config.json"
    content = read_json(path)
    del content["curriculum"]
    write_json(path, content)
    open_run(config.output, config)
    with pytest.raises(ValueError, match=r"curriculum\.on: was False, now True"):
        open_run(config.output, replace(config, curriculum=EASY_FIRST))


@pytest.mark.parametrize("draw_size", [0, 2])
def test_many_processes_are_warned_of_whole_batch_draws(config, token_store, caplog, draw_size):
    config = replace(config, batch_size=32, draw_size=draw_size)
    model = train.make_model(config, store=token_store)
    train.make_batches(model, token_store, config=config, ranks=Ranks(size=16, rank=3))
    assert ("--draw-size 2" in caplog.text) == (not draw_size)


def test_dry_run_describes_and_trains_nothing(config, caplog):
    caplog.set_level("INFO")
    assert run(replace(config, dry_run=True)) is None
    assert not config.output.exists()
    text = caplog.text
    assert "in one branch" in text
    assert "2 clips x 5 frames x 16 tokens x 2 branches = 320 tokens" in text
    assert "GiB" in text


def test_the_genie_baseline_trains(config):
    preset = genie()
    shape = replace(preset.model, max_frames=6, width=16, heads=2, num_layers=1)
    trained = train.train(replace(config, model=shape, loss=preset.loss))
    assert trained.config.modalities == 1
    lines = read_metrics(config.output / "metrics.jsonl")
    assert not any("loss_depth" in line or "loss_keypoint" in line for line in lines)


@pytest.mark.parametrize("switch", ["depth", "keypoint", "attention"])
def test_each_physical_switch_turns_its_term_off(config, switch):
    run(
        replace(
            config,
            loss=replace(config.loss, **{switch: 0.0}),
            fit=replace(config.fit, steps=1, evaluate_every=1),
        )
    )
    line = read_metrics(config.output / "metrics.jsonl")[0]
    for name in ("depth", "keypoint", "attention"):
        assert (f"loss_{name}" in line) == (name != switch)
