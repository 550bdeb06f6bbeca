"""What `benchmarks/training/step_cost.py` counts without memory is what really happens."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roboscape.bench.flops import forward_flops
from roboscape.presets.world_model import PRESETS
from roboscape.training.optimizer import SLOTS, OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution
from roboscape.world_model import model as attention
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import block_names

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "training"))

import plan_run
import step_cost

SHAPE = WorldModelConfig(control_size=6, num_layers=3, width=32, heads=2, grid=(4, 4), max_frames=5)


def really_kept(config, *, clips, recompute):
    """Bytes that autograd holds between a real forward pass and the backward pass."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    model = WorldModel(config)
    Execution(recompute=recompute, blocks=block_names(model)).apply(model)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        features = model.features(step_cost.empty_rows(config, clips=clips))
    for parameter in model.parameters():
        kept.pop(parameter.data_ptr(), None)
    assert features
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_of_a_real_pass(monkeypatch, recompute):
    monkeypatch.setattr(attention, "attend", step_cost.fused_attention)
    one, four = (really_kept(SHAPE, clips=clips, recompute=recompute) for clips in (1, 4))
    counted = step_cost.step_cost(SHAPE, clips=1, recompute=recompute)
    assert counted.kept_bytes_per_clip == pytest.approx((four - one) / 3, rel=0.01)


def test_recomputing_keeps_less_and_computes_more():
    kept, again = (step_cost.step_cost(SHAPE, clips=2, recompute=r) for r in (False, True))
    most = again.kept_bytes_per_clip + again.again_bytes_per_clip
    assert most < 0.6 * kept.kept_bytes_per_clip
    assert again.forward.flops == kept.forward.flops
    more = again.backward.flops - kept.backward.flops
    # All but the last product of a block, which the backward pass has no use for.
    assert 0.6 * kept.forward.flops < more < kept.forward.flops


def test_flops_are_those_of_the_formula():
    counted = step_cost.step_cost(SHAPE, clips=2, recompute=False).forward.flops
    formula = forward_flops(SHAPE, rows=SHAPE.window, batch=2)
    assert counted + 2 * step_cost.head_flops(SHAPE) == pytest.approx(formula, rel=0.01)


def test_optimiser_states_are_those_that_it_makes():
    model = WorldModel(SHAPE)
    optimizer = make_optimizer(model, config=OptimizerConfig(), tables=model.tables())
    optimizer.fill_slots()
    remembered = sum(
        tensor.numel()
        for slots in optimizer.state.values()
        for name, tensor in slots.items()
        if name != "count"
    )
    assert "momentum" in SLOTS["muon"]
    counted = step_cost.count_parameters(SHAPE)
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert counted.remembered == remembered


def test_sharding_divides_the_states_and_nothing_else():
    parameters = step_cost.count_parameters(SHAPE)
    cost = step_cost.step_cost(SHAPE, clips=2, recompute=True)
    alone, shared = (plan_run.memory_of(SHAPE, parameters, cost, clips=2, shards=n) for n in (1, 8))
    assert shared.states == alone.states / 8
    assert shared.activations == alone.activations
    numbers = 3 * parameters.total + parameters.remembered
    assert alone.states == 4 * numbers


def test_days_follow_from_a_measured_rate():
    config = plan_run.PlanRun(model_flops_per_s=1e14, clips_per_device=8, recompute=False)
    found = plan_run.plan(config, "small", 32)
    flops = 6.5e6 * 5 * found.flops_per_clip
    extra = 1 + PRESETS["small"]().masking.self_predicted / 3
    assert found.days == pytest.approx(flops / (32 * 1e14) * extra / 86400)
    assert plan_run.plan(replace(config, epochs=10), "small", 32).days == pytest.approx(
        2 * found.days
    )
