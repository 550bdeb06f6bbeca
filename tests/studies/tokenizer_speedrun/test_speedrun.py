"""The tokenizer's speed run: every change trains, and what judges it judges right."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.files import read_json
from roboscape.presets.tokenizer import lift
from roboscape.tokenizer.ceiling import measure_ceiling
from roboscape.tokenizer.frames import FrameCache
from roboscape.tokenizer.model import Tokenizer, rgb_to_image
from roboscape.tokenizer.train import make_step
from studies.tokenizer_speedrun import run as speedrun
from studies.tokenizer_speedrun import scores, table, training
from studies.tokenizer_speedrun.training import Training, configuration, costs_the_same
from studies.tokenizer_speedrun.variants import VARIANTS, Variant, variant_named


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    """The preset for images of 32 pixels, with narrow layers."""

    def small():
        model = replace(lift().model, image_size=32, decoder_width=32, convolution_width=16)
        return replace(lift(), model=model, precision="fp32")

    monkeypatch.setattr(training, "lift", small)


@pytest.fixture(scope="module")
def small_frames() -> FrameCache:
    """Two episodes of three frames, in which a square moves over a ground that is coded anew."""
    generator = np.random.default_rng(0)
    rgb = generator.integers(2, 250, (1, 32, 32, 3)).repeat(6, axis=0)
    rgb += generator.integers(-1, 2, rgb.shape)
    for number in range(6):
        rgb[number, 8:16, 2 * number : 2 * number + 6] = 255
    depth_m = rgb[..., 0].astype(np.float16) / 255 + 0.5
    return FrameCache(rgb=rgb.astype(np.uint8), depth_m=depth_m, episode=np.repeat([0, 1], 3))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_takes_two_steps(name, small_frames):
    training = Training.start(VARIANTS[name], small_frames, seed=0, steps=2)
    losses = [training.take_step() for _ in range(2)]
    assert np.isfinite(losses).all()
    assert name == "baseline" or different(VARIANTS[name])


def different(variant: Variant) -> bool:
    """Whether a variant changes anything."""
    baseline = configuration(VARIANTS["baseline"], seed=0, steps=2)
    changed = configuration(variant, seed=0, steps=2) != baseline
    return changed or bool(variant.term) or variant.look is not VARIANTS["baseline"].look


def test_the_baseline_is_the_training_of_the_package(small_frames):
    training = Training.start(VARIANTS["baseline"], small_frames, seed=3, steps=2)
    tokenizer = training.learner.state.model
    assert isinstance(tokenizer, Tokenizer)
    own = make_step(tokenizer, small_frames, config=training.run)
    assert torch.equal(own(1)[0], training.step(1)[0])


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].term])
def test_every_term_gives_a_gradient(name, small_frames):
    training = Training.start(VARIANTS[name], small_frames, seed=0, steps=2)
    loss, figures = training.step(1)
    training.learner.state.model.zero_grad()
    (loss - training_without(training, small_frames)).backward()
    assert figures["term"] != 0
    gradients = [p.grad for p in training.learner.state.model.parameters() if p.grad is not None]
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


def training_without(training: Training, frames: FrameCache) -> torch.Tensor:
    """The loss of the same step without the variant's term."""
    tokenizer = training.learner.state.model
    assert isinstance(tokenizer, Tokenizer)
    return make_step(tokenizer, frames, config=training.run)(1)[0]


def test_scores_are_those_of_the_ceiling(tokenizer, frames):
    found = scores.measure(tokenizer, frames, batch_size=5)
    ceiling = measure_ceiling(tokenizer, frames)
    assert found.psnr == pytest.approx(ceiling.psnr, abs=1e-3)
    assert found.depth_psnr == pytest.approx(ceiling.depth_psnr, abs=1e-3)
    assert found.absrel == pytest.approx(ceiling.absrel, rel=1e-3)
    assert found.unchanged == pytest.approx(ceiling.unchanged_rgb)
    assert found.distinct_codes == ceiling.distinct_codes


def test_flicker_is_what_changes_at_rest():
    signs = torch.zeros(4, 2, 3, dtype=torch.bool)
    signs[1, 0, 2] = signs[3, 1, 0] = True
    still = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    # Within an episode: token 0 flickers at 1, nothing at 2 (another episode), token 1 at 3.
    flicker, unchanged = scores.steadiness(signs, still, episode=np.array([0, 0, 1, 1]))
    assert flicker == pytest.approx(2 / 3)
    assert unchanged == pytest.approx(2 / 4)


def test_grain_changes_tokens_and_is_new_each_time(tokenizer, frames):
    images = rgb_to_image(frames.rgb_at(np.arange(4)))
    assert scores.changed_by_grain(tokenizer, images, seed=0).any()
    none = scores.with_grain(images, levels=0.0, seeds=(0,))
    assert torch.equal(none, images)
    one, other = (scores.with_grain(images, levels=2.0, seeds=(0, copy)) for copy in (0, 1))
    assert not torch.equal(one, other)
    assert (one - images).std() == pytest.approx(2 / 127.5, rel=0.05)


def test_regions_are_around_what_moves_and_around_edges():
    image = torch.full((1, 3, 32, 32), -1.0)
    later = image.clone()
    later[..., 10:12, 20:22] = 1.0
    moved = scores.moved_pixels(later, image)
    assert moved.sum() == 16 and moved[0, 0, 9:13, 19:23].all()
    assert not scores.moved_pixels(image, image).any()
    assert scores.edges(later).sum() > 0 and not scores.edges(image).any()
    still = scores.still_tokens(later, image, patch=8)
    assert (~still).nonzero().tolist() == [[0, 1 * 4 + 2]]


def test_the_frame_before_is_of_the_same_episode():
    before = scores.previous(np.array([[0, 1], [2, 3]]), episode=np.array([0, 0, 1, 1]))
    assert before.tolist() == [[0, 0], [2, 2]]


def test_codes_of_36_bits_are_told_apart():
    signs = torch.zeros(3, 1, 36, dtype=torch.bool)
    signs[1, 0, 35] = True
    assert scores.distinct(signs) == 2


def test_a_run_is_kept_shared_and_tabled(tmp_path, monkeypatch, small_frames):
    frames = speedrun.Frames(train=small_frames, held_out=small_frames)
    monkeypatch.setattr(speedrun, "open_frames", lambda config: frames)
    config = speedrun.RunConfig(
        output=tmp_path, variants=("baseline", "edge"), seeds=(0,), budget_s=0.1
    )
    with speedrun.claimed(tmp_path / "claims" / "edge_0"):
        speedrun.run(config)
    results = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert results == ["baseline_0.json"]
    first = (tmp_path / "results" / "baseline_0.json").stat().st_mtime_ns
    speedrun.run(config)
    assert (tmp_path / "results" / "baseline_0.json").stat().st_mtime_ns == first
    assert math.isfinite(read_json(tmp_path / "results" / "edge_0.json")["scores"]["psnr"])
    page = tmp_path / "page.md"
    page.write_text(f"<!-- measured: {table.PLACE} -->\n<!-- /measured: {table.PLACE} -->\n")
    table.write_table(table.TableConfig(output=tmp_path, page=page))
    assert VARIANTS["edge"].change in page.read_text()
    with pytest.raises(ValueError, match="choose another --output"):
        speedrun.run(replace(config, budget_s=0.2))


def test_a_difference_counts_against_the_spread_of_all_seeds():
    values = {"baseline": [20.0, 20.2], "near": [20.2, 20.1], "far": [21.0, 21.2]}
    assert table.pooled_deviation(values) == pytest.approx(math.sqrt(0.045 / 3))
    assert not table.difference(values, "near", others=values).clear
    assert table.difference(values, "far", others=values).clear


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("baseline", True),
        ("muon_half", True),
        ("entropy_none", True),
        ("adamw", False),
        ("batch_4", False),
        ("edge", False),
        ("grain", False),
        ("merge_1", False),
        ("average_none", False),
    ],
)
def test_only_work_costs(name, same):
    assert costs_the_same(VARIANTS[name], VARIANTS["baseline"]) == same


def test_changes_add_up(small_frames):
    both = variant_named("edge+moving+batch_4+grain")
    training = Training.start(both, small_frames, seed=0, steps=2)
    assert training.run.batch_size == 4
    assert both.look is not VARIANTS["baseline"].look
    alone = [
        Training.start(variant_named(f"{name}+batch_4+grain"), small_frames, seed=0, steps=2)
        for name in ("edge", "moving")
    ]
    terms = [one.step(1)[1]["term"] for one in (training, *alone)]
    assert terms[0] == pytest.approx(terms[1] + terms[2], rel=1e-4)


def test_one_seed_decides_nothing():
    values = {"baseline": [20.0], "far": [30.0]}
    found = table.difference(values, "far", others=values)
    assert table.verdict(dict.fromkeys((score.key for score in table.SCORES), found)) == "one seed"


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        speedrun.RunConfig(variants=("nothing_of_the_kind",))
