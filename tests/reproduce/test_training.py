"""Variants with one seed learn from the same clips in the same order."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.reproduce.training import Recipe, Trainer, step_costs, train_variant
from roboscape.reproduce.variants import Variant, table2_variants
from tests.reproduce.conftest import tiny_base
from tests.world_model.conftest import token_store  # noqa: F401

FULL, NO_DEPTH = table2_variants()[:2]


@pytest.fixture
def recipe(token_store):  # noqa: F811
    return Recipe(base=replace(tiny_base(), precision="fp32"), tokens={"true": token_store.root})


def controls(trainer, step):
    (microbatch,) = trainer.batches.microbatches(step)
    return microbatch.content.targets.inputs.controls


def test_equal_seeds_read_equal_clips_whatever_the_variant(recipe):
    trainers = [Trainer(recipe.run(variant, steps=4, seed=1)) for variant in table2_variants()]
    for step in range(3):
        first, *others = (controls(trainer, step) for trainer in trainers)
        assert all(torch.equal(first, other) for other in others)
    other = Trainer(recipe.run(FULL, steps=4, seed=2))
    assert not torch.equal(controls(other, 0), controls(trainers[0], 0))


def test_the_rgb_branch_begins_alike_with_and_without_a_depth_branch(recipe):
    one, other = (Trainer(recipe.run(v, steps=4, seed=1)).model for v in (FULL, NO_DEPTH))
    for name, weight in other.branches[0].named_parameters():
        assert torch.equal(weight, one.branches[0].get_parameter(name))


def test_a_share_of_the_data_is_its_first_episodes(recipe, token_store):  # noqa: F811
    run = recipe.run(FULL, steps=4, seed=0)
    table = token_store.clips("train", length=6, stride=4)
    for share, episodes in ((1.0, 3), (2 / 3, 2), (0.01, 1)):
        trainer = Trainer(run, data_share=share)
        assert trainer.frames == 70 * episodes
        drawn = np.concatenate([trainer.batches.chosen(step) for step in range(60)])
        assert set(table.locate(drawn)[0]) == set(range(episodes))


def test_a_training_repeats_itself(recipe):
    runs = [train_variant(recipe, FULL, steps=3, seed=0) for _ in range(2)]
    assert runs[0].losses == runs[1].losses
    assert list(runs[0].losses) == [1, 2, 3]
    for name, weight in runs[0].model.named_parameters():
        assert torch.equal(weight, runs[1].model.get_parameter(name))
        assert not weight.requires_grad


def test_what_is_counted_in_steps_fits_their_number(recipe):
    run = recipe.run(FULL, steps=40, seed=0)
    assert (run.fit.steps, run.masking.self_predicted_after) == (40, 20)
    assert run.optimizer.warmup_steps == 5


def test_a_branch_less_costs_less(recipe):
    variants = {"full": FULL, "no_depth": NO_DEPTH}
    costs = step_costs({name: recipe.run(v, steps=9, seed=0) for name, v in variants.items()})
    assert 0 < costs["no_depth"] < costs["full"]


def test_labels_without_tokens_are_refused(recipe):
    with pytest.raises(ValueError, match="no tokens with labels `wrong`"):
        recipe.run(Variant(name="x", what="x", labels="wrong"), steps=1, seed=0)
