"""A variant turns off what it says, and nothing else."""

from dataclasses import replace

import pytest
import torch

from roboscape.reproduce.training import Recipe, Trainer
from roboscape.reproduce.variants import (
    ATTENTION,
    CONSISTENCY,
    DEPTH,
    INJECTION,
    PARTS,
    grid_variants,
    setting,
    table2_variants,
    with_parts,
)
from roboscape.world_model.keypoints import Keypoints, attention_map
from tests.reproduce.conftest import tiny_base
from tests.world_model.conftest import token_store  # noqa: F401

ALL = {variant.name: variant for variant in table2_variants()}
EXPECTED = {
    "full": set(PARTS),
    "no_depth": {CONSISTENCY, ATTENTION},
    "no_injection": {DEPTH, CONSISTENCY, ATTENTION},
    "no_consistency": {DEPTH, INJECTION, ATTENTION},
    "no_attention": {DEPTH, INJECTION, CONSISTENCY},
    "flat_attention": set(PARTS),
    "none": set(),
    "only_depth": {DEPTH, INJECTION},
    "only_depth_branch": {DEPTH},
    "only_consistency": {CONSISTENCY},
    "only_attention": {ATTENTION},
}


@pytest.fixture
def recipe(token_store):  # noqa: F811
    return Recipe(base=replace(tiny_base(), precision="fp32"), tokens={"true": token_store.root})


@pytest.mark.parametrize("name", EXPECTED)
def test_a_variant_has_the_parts_that_it_names_and_no_others(name, recipe):
    trainer = Trainer(recipe.run(ALL[name], steps=4, seed=0))
    for number in range(2):
        trainer.advance(number)
    parts = EXPECTED[name]
    (microbatch,) = trainer.batches.microbatches(0)
    terms = {"rgb"} | {
        term
        for part, term in ((DEPTH, "depth"), (CONSISTENCY, "keypoint"), (ATTENTION, "attention"))
        if part in parts
    }
    assert set(microbatch.counts) == terms
    assert len(trainer.model.branches) == (2 if DEPTH in parts else 1)
    assert len(trainer.model.injections) == (1 if INJECTION in parts else 0)
    gradients = {n: p.grad for n, p in trainer.model.named_parameters()}
    assert all(grad is not None for grad in gradients.values())
    if INJECTION in parts:
        assert trainer.model.injections[0].weight.abs().sum() > 0


def test_variants_differ_in_parts_alone(recipe):
    base = recipe.run(ALL["full"], steps=40, seed=3)
    for variant in ALL.values():
        run = recipe.run(variant, steps=40, seed=3)
        model = replace(run.model, branches=base.model.branches, inject_depth=True)
        assert replace(run, model=model, loss=base.loss) == base


def test_without_keypoints_in_it_the_attention_loss_weighs_all_tokens_alike(recipe):
    run = recipe.run(ALL["flat_attention"], steps=4, seed=0)
    cells = torch.zeros(1, 3, 2, dtype=torch.long)
    points = Keypoints(cells=cells, valid=torch.ones_like(cells, dtype=torch.bool))
    assert attention_map(points, tokens=4, gamma=run.loss.gamma).unique().tolist() == [1.0]
    assert run.loss.attention == tiny_base().loss.attention


def test_every_variant_is_named_once_and_compared_with_one_that_is_there():
    for variants in (table2_variants(), grid_variants()):
        names = [variant.name for variant in variants]
        assert len(set(names)) == len(names)
        assert {variant.against for variant in variants} <= {"", *names}
        assert {variant.step_as for variant in variants} <= {"", *names}


def test_the_grid_changes_one_weight_at_a_time(recipe):
    preset = recipe.run(grid_variants()[0], steps=4, seed=0).loss
    for variant in grid_variants()[1:]:
        loss = recipe.run(variant, steps=4, seed=0).loss
        changed = [
            name
            for name in ("depth", "keypoint", "attention", "gamma", "keypoints")
            if getattr(loss, name) != getattr(preset, name)
        ]
        assert len(changed) == 1
        assert variant.name == f"{changed[0]}_{getattr(loss, changed[0]):g}"


def test_injection_needs_a_depth_branch_and_settings_exist():
    with pytest.raises(ValueError, match="injection with depth"):
        with_parts([INJECTION])
    with pytest.raises(ValueError, match="no setting `depht`"):
        setting(depht=1)(tiny_base())
