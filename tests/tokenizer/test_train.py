import itertools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.core import precision
from roboscape.core.files import read_json
from roboscape.presets.tokenizer import PRESETS
from roboscape.tokenizer.frames import FrameCache, write_cache
from roboscape.tokenizer.losses import TokenizerLossConfig
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.train import (
    TokenizerRun,
    batch_at,
    check_frames,
    make_step,
    needed_episodes,
    train,
)
from roboscape.training.formats import FORMATS
from roboscape.training.learner import StopConfig
from roboscape.training.loop import FitConfig, read_metrics
from roboscape.training.optimizer import OptimizerConfig


@pytest.fixture
def run_config(config, tmp_path) -> TokenizerRun:
    return TokenizerRun(
        dataset=(Path("unused"),),
        validation=Path("unused"),
        output=tmp_path / "run",
        batch_size=8,
        precision="fp32",
        model=config,
        optimizer=OptimizerConfig(warmup_steps=2, learning_rate=3e-3),
        fit=FitConfig(
            steps=40, log_every=5, evaluate_every=40, checkpoint_every=20, average_decay=0.8
        ),
    )


def test_training_reconstructs_better_than_the_start(run_config, tokenizer, frames):
    trained = train(run_config, frames=frames, held_out=frames)
    figures = read_metrics(run_config.output / "metrics.jsonl")
    last = next(line for line in reversed(figures) if "validation_psnr" in line)
    first = next(line for line in figures if "squared" in line)
    assert last["validation_psnr"] > 10 * np.log10(4 / first["squared"]) + 3
    loaded = Tokenizer.from_pretrained(run_config.output / "tokenizer")
    rgb = frames.rgb_at(np.arange(4))
    assert torch.equal(loaded.encode_rgb(rgb), trained.encode_rgb(rgb))
    assert (run_config.output / "samples" / "reconstructions.png").is_file()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_it_too(run_config, frames, precision):
    short = replace(run_config.fit, steps=4, evaluate_every=4)
    config = replace(run_config, device="cuda", precision=precision, fit=short)
    trained = train(config, frames=frames, held_out=frames)
    assert read_metrics(config.output / "metrics.jsonl")[-1]["validation_psnr"] > 0
    rgb = frames.rgb_at(np.arange(4))
    on_cpu = trained.encode_rgb(rgb)
    on_gpu = trained.to("cuda").encode_rgb(rgb.to("cuda")).cpu()
    # A number near zero may have another sign there.
    assert (on_cpu == on_gpu).float().mean() > 0.98


def test_a_decoder_that_learns_alone_changes_no_code(run_config, tokenizer, frames):
    start = run_config.output / "start"
    tokenizer.save_pretrained(start)
    alone = replace(
        run_config,
        start_from=str(start),
        learns="decoder",
        given_from=0.0,
        model=replace(run_config.model, given_frame=True),
        fit=replace(run_config.fit, steps=10, evaluate_every=10),
    )
    trained = train(alone, frames=frames, held_out=frames)
    rgb = frames.rgb_at(np.arange(8))
    codes = tokenizer.encode_rgb(rgb)
    assert torch.equal(trained.encode_rgb(rgb), codes)
    assert not torch.equal(trained.decode_rgb(codes), tokenizer.decode_rgb(codes))
    assert trained.given_rgb(rgb) is not None, "its new layers are there"


def test_a_decoder_learns_alone_only_from_a_start(run_config):
    with pytest.raises(ValueError, match="start-from"):
        replace(run_config, learns="decoder")


def test_four_steps_equal_two_and_two(run_config, frames):
    def weights(config):
        return train(config, frames=frames, held_out=frames).state_dict()

    four = replace(run_config.fit, steps=4, checkpoint_every=2, evaluate_every=4)
    whole = weights(replace(run_config, fit=four, output=run_config.output / "whole"))
    halves = replace(run_config, fit=four, output=run_config.output / "halves")
    stop_after(halves, frames, step=2)
    resumed = weights(halves)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize(("begun", "fast"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_on_a_machine_with_another_fast_format_a_run_goes_on_as_it_began(
    run_config, frames, monkeypatch, begun, fast
):
    def probe_says(number_format):
        answer = {"convolution": number_format, "matmul": "fp32"}
        monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: answer[kind])

    fit = replace(run_config.fit, steps=4, checkpoint_every=2, evaluate_every=4)
    run_config = replace(run_config, fit=fit, precision="auto")
    probe_says(begun)
    whole = replace(run_config, output=run_config.output / "whole")
    expected = train(whole, frames=frames, held_out=frames).state_dict()
    assert read_json(whole.output / FORMATS) == {"convolution": begun, "matmul": "fp32"}
    halves = replace(run_config, output=run_config.output / "halves")
    stop_after(halves, frames, step=2)
    probe_says(fast)
    resumed = train(halves, frames=frames, held_out=frames).state_dict()
    for name, tensor in expected.items():
        assert torch.equal(tensor, resumed[name]), name


def stop_after(config, frames, *, step):
    """Train and be interrupted after some steps, as by a keyboard."""

    reads = itertools.count(1)

    class InterruptedFrames(FrameCache):
        def rgb_at(self, indices):
            if next(reads) > step:
                raise KeyboardInterrupt
            return super().rgb_at(indices)

    with pytest.raises(KeyboardInterrupt):
        train(config, frames=InterruptedFrames(**vars(frames)), held_out=frames)


def test_every_batch_mixes_both_kinds_and_follows_from_its_number(run_config, tokenizer, frames):
    arguments = {"tokenizer": tokenizer, "frames": frames, "config": run_config}
    batch = batch_at(3, **arguments)
    assert torch.equal(batch, batch_at(3, **arguments))
    assert not torch.equal(batch, batch_at(4, **arguments))
    gray = (batch[:, 0] == batch[:, 2]).all(dim=(1, 2))
    assert gray.tolist() == [False] * 4 + [True] * 4


def test_collapse_is_said_loudly(run_config, frames, caplog):
    tokenizer = Tokenizer(run_config.model)
    last = tokenizer.encoder.layers[-2]
    assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.ones_(last.bias)
    with caplog.at_level(logging.WARNING):
        make_step(tokenizer.train(), frames, config=run_config)(25)
    assert "CODEBOOK COLLAPSE at step 25" in caplog.text


def test_depth_out_of_range_is_reported_with_its_share(run_config, tmp_path, caplog):
    rgb, depth_m = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32), 1.0, np.float32)
    depth_m[:, :8] = 9.0
    with caplog.at_level(logging.WARNING):
        check_frames(write_cache(tmp_path / "c", [(rgb, depth_m)]), config=run_config)
    assert "25.00 %" in caplog.text


def test_frames_of_another_size_are_refused(run_config, tmp_path):
    cache = write_cache(tmp_path / "c", [(np.zeros((1, 16, 16, 3), np.uint8), None)])
    with pytest.raises(ValueError, match="16 x 16"):
        check_frames(cache, config=run_config)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_complete_run(name):
    run = PRESETS[name]()
    assert isinstance(run.loss, TokenizerLossConfig)
    Tokenizer(run.model)


def test_frames_without_depth_are_learnt_from_as_rgb_alone(run_config, tokenizer, tmp_path):
    frames = write_cache(tmp_path / "rgb", [(np.full((6, 32, 32, 3), 90, np.uint8), None)])
    assert batch_at(0, tokenizer=tokenizer, frames=frames, config=run_config).shape[0] == 8
    check_frames(frames, config=run_config)
    short = replace(run_config, fit=replace(run_config.fit, steps=2, evaluate_every=2))
    train(short, frames=frames, held_out=frames)
    ceiling = read_json(short.output / "tokenizer/ceiling.json")
    assert ceiling["psnr"] > 0
    assert ceiling["depth_psnr"] is ceiling["absrel"] is ceiling["unchanged_depth"] is None


def test_the_validation_episodes_of_the_same_dataset_are_held_out(lift_train_dataset, lift_dataset):
    assert needed_episodes(lift_train_dataset, "train") == [0, 1]
    with pytest.raises(ValueError, match=r"none of the 2 episodes .* is for validation"):
        needed_episodes(lift_train_dataset, "validation")
    with pytest.raises(ValueError, match="is for train"):
        needed_episodes(lift_dataset, "train")


def test_a_tokenizer_is_fine_tuned_from_another(run_config, tokenizer, frames, tmp_path):
    # What is released without a better validation is the start itself.
    tokenizer.save_pretrained(tmp_path / "start")
    stop = StopConfig(figure="psnr", better="lower")
    fit = replace(run_config.fit, steps=2, evaluate_every=2, average_decay=0.0, stop=stop)
    config = replace(
        run_config,
        start_from=str(tmp_path / "start"),
        fit=fit,
        seed=7,
        optimizer=OptimizerConfig(warmup_steps=0, learning_rate=1e-3),
    )
    trained = train(config, frames=frames, held_out=frames)
    figures = [x for x in read_metrics(config.output / "metrics.jsonl") if "validation_psnr" in x]
    assert [line["step"] for line in figures] == [0, 2]
    assert figures[0]["validation_psnr"] < figures[1]["validation_psnr"]
    start = tokenizer.state_dict()
    assert all(torch.equal(start[name], t) for name, t in trained.state_dict().items())


def test_a_start_of_another_shape_is_refused(run_config, tokenizer, frames, tmp_path):
    tokenizer.save_pretrained(tmp_path / "start")
    config = replace(
        run_config,
        start_from=str(tmp_path / "start"),
        learns="decoder",
        model=replace(run_config.model, depth_max_m=4.0),
    )
    with pytest.raises(
        ValueError, match=r"does not fit as a start \(depth_max_m: was 3.0, now 4.0"
    ):
        train(config, frames=frames, held_out=frames)


def test_depth_that_a_start_cannot_show_is_refused(run_config, frames, caplog):
    # A sixth of the picture lies at .5 m, the rest from 1 to 2 m.
    near = replace(run_config, model=replace(run_config.model, depth_min_m=0.9))
    check_frames(frames, config=near)
    assert "is clipped" in caplog.text
    far = replace(run_config, start_from="lift", model=replace(run_config.model, depth_max_m=1.5))
    with pytest.raises(ValueError, match=r"of the depth lies outside 0.3 to 1.5 m.*\(lift\)"):
        check_frames(frames, config=far)
    check_frames(frames, config=replace(near, start_from="lift"))
