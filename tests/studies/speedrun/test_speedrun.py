"""The speed-run's parts are world models like the package's own, and its log says what it found."""

from dataclasses import replace

import pytest
import torch

from roboscape.presets.world_model import lift
from roboscape.reproduce.training import Trainer
from roboscape.rollout.imagine import imagine
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.objective import next_frame_inputs
from roboscape.world_model.validation import validate
from studies.speedrun import run, table
from studies.speedrun.train import Data, run_of
from studies.speedrun.validate import next_frame_losses
from studies.speedrun.variants import BASELINE, listed, short_lift, variant_named

SHAPE = WorldModelConfig(
    control_size=3, num_layers=2, width=16, heads=2, code_bits=6, grid=(2, 4), patch=2, max_frames=5
)
SURGERIES = [variant.name for variant in listed() if variant.surgeries]


def tiny_clip(frames=5):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(64, (2, 2, frames, 8), generator=generator).int()
    return tokens, torch.randn(2, frames, 3, generator=generator)


@pytest.mark.parametrize("name", SURGERIES)
def test_a_changed_model_imagines_with_the_cache_what_it_predicts_without(name, randomised):
    model = randomised(variant_named(name).model(WorldModel(SHAPE)))
    tokens, controls = tiny_clip()
    frames = list(imagine(model, rgb=tokens[0, :, :1], depth=tokens[1, :, :1], controls=controls))
    imagined = torch.stack(
        [
            torch.stack([frame.rgb_codes for frame in frames], dim=1),
            torch.stack([frame.depth_codes for frame in frames], dim=1),
        ]
    )
    whole = torch.cat([tokens[:, :, :1], imagined], dim=2)
    for modality, logits in enumerate(model(next_frame_inputs(whole, controls))):
        groups = logits.argmax(dim=-1)
        assert torch.equal(groups[..., 0] + 8 * groups[..., 1], imagined[modality].long())
    assert len(whole.unique()) > 4


@pytest.mark.parametrize("name", SURGERIES)
def test_a_changed_model_differs_and_has_a_gradient_everywhere(name, token_store):
    data = Data(tokens=token_store.root, precision="fp32")
    run = tiny_run(name, data)
    trainer = Trainer(run, surgery=variant_named(name).model)
    plain = Trainer(tiny_run(BASELINE, data))
    losses = [(trainer.advance(n), plain.advance(n)) for n in range(3)]
    assert all(torch.tensor(losses).isfinite().flatten())
    assert losses[-1][0] != losses[-1][1]
    without = [n for n, p in trainer.model.named_parameters() if p.grad is None]
    assert not without


def tiny_run(name, data, *, steps=4):
    run = run_of(variant_named(name), data, steps=steps)
    shape = replace(run.model, num_layers=1, width=16, heads=2, patch=2)
    return replace(run, model=shape, batch_size=2)


def test_one_step_losses_agree_with_the_trainings_validation(token_store, randomised):
    for objective in ("next_frame", "masked"):
        shape = replace(
            SHAPE, objective=objective, control_size=token_store.control_size, code_bits=18,
            grid=(4, 4), max_frames=16,
        )  # fmt: skip
        model = randomised(WorldModel(shape))
        clip = token_store.batch(torch.tensor([0]).numpy(), split="validation", length=16, stride=4)
        losses = next_frame_losses(model, clip)
        tokens = torch.stack([clip.rgb, clip.depth])
        if objective == "next_frame":
            expected = validate(model, tokens, clip.controls)
            assert losses[0].mean().item() == pytest.approx(expected["rgb_loss"], rel=1e-4)
            assert losses[1].mean().item() == pytest.approx(expected["depth_loss"], rel=1e-4)
        else:
            assert losses[0, 0, 6].item() == pytest.approx(
                masked_loss(model, tokens, clip, 7), rel=1e-4
            )


def masked_loss(model, tokens, clip, frame):
    """RGB loss of one wholly hidden frame after clean ones, in a single pass."""
    hidden = torch.zeros_like(tokens[:, :, : frame + 1], dtype=torch.bool)
    hidden[:, :, frame] = True
    controls = clip.controls[:, : frame + 1].clone()
    controls[:, 0] = 0
    rows = ModelInputs(
        previous=None, current=tokens[:, :, : frame + 1], masked=hidden, controls=controls
    )
    logits = model(rows)[0][0, frame]
    groups = torch.stack([tokens[0, 0, frame] % 512, tokens[0, 0, frame] // 512], dim=-1).long()
    chances = logits.log_softmax(dim=-1).gather(-1, groups.unsqueeze(-1))
    return -chances.sum().item() / len(groups)


def test_every_variant_is_a_valid_run_and_the_baseline_is_the_preset():
    names = [variant.name for variant in listed()]
    assert len(set(names)) == len(names)
    for variant in listed():
        run = variant.run(short_lift(steps=300))
        assert run != short_lift(steps=300) or variant.surgeries or variant.name == BASELINE
        assert run.fit.steps == 300
    short = short_lift(steps=300)
    assert (short.model, short.loss, short.batch_size) == (
        lift().model, lift().loss, lift().batch_size,
    )  # fmt: skip


def test_combinations_apply_every_part():
    both = variant_named("rms_norm+batch_2")
    assert both.run(short_lift(steps=10)).batch_size == 2
    assert len(both.surgeries) == 1
    with pytest.raises(ValueError, match="no variant nonsense"):
        variant_named("rms_norm+nonsense")


def test_a_claim_is_exclusive_and_goes_with_its_owner(tmp_path):
    with run.claimed(tmp_path / "a") as mine, run.claimed(tmp_path / "a") as theirs:
        assert (mine, theirs) == (tmp_path / "a", None)
    with run.claimed(tmp_path / "a") as again:
        assert again is not None
    (tmp_path / "a" / "result.json").write_text("{}")
    with run.claimed(tmp_path / "a") as finished:
        assert finished is None


def test_the_first_to_publish_wins(tmp_path):
    for number in (1, 2):
        run.publish(tmp_path / "cost.json", {"step_s": number})
    assert run.read_json(tmp_path / "cost.json") == {"step_s": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["cost.json"]


def result(name, psnr, *, loss=1.0):
    figures = {"rgb_loss": loss, "depth_loss": 1.0, "psnr": psnr, "abs_rel": 0.1}
    figures |= {"delta_psnr": 1.0, "static_psnr": 15.0, "ceiling_psnr": 27.0}
    return {
        "variant": name, "what": "x", "steps": 10, "step_s": 0.5, "cpu_s": 5.0, "budget_s": 5.0,
        "figures": figures, "machine": "a machine",
    }  # fmt: skip


def test_a_verdict_needs_more_than_the_seeds_spread():
    baseline = [result(BASELINE, 20.0), result(BASELINE, 21.0)]
    assert table.verdict([result("a", 20.5), result("a", 25.0)], baseline) == (table.NEUTRAL)
    better = [result("a", 22.0, loss=1.5), result("a", 25.0, loss=1.5)]
    assert table.verdict(better, baseline) == "better: PSNR; worse: RGB loss"
    assert table.verdict(better[:1], baseline).startswith("one seed")


def test_the_log_has_a_line_a_change_and_judges_the_goal():
    results = {
        BASELINE: [result(BASELINE, 20.0), result(BASELINE, 20.4)],
        "plain_masked_4x": [result("plain_masked_4x", 19.0), result("plain_masked_4x", 19.2)],
    }
    log = table.log_of(results)
    assert "20.20 ± 0.20" in log and "19.10 ± 0.10 (−1.10)" in log
    assert "5 of 5 figures" in table.goal_of(results)
    assert table.log_of({}) == table.goal_of({}) == "Not measured yet."
