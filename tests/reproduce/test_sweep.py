"""A sweep covers sizes, data and compute; its plan for a GPU is commands that parse."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from roboscape.cli import parse
from roboscape.presets.world_model import large, lift, small
from roboscape.reproduce import grid, sweep
from roboscape.reproduce.gpu_plan import estimate, plan_text
from roboscape.reproduce.grid import Grid
from roboscape.reproduce.sweep import Sweep, sweep_variants
from roboscape.reproduce.training import Recipe


def test_every_size_meets_every_amount_of_data_and_compute():
    variants = sweep_variants(Sweep(shares=(1.0, 0.5), budgets=(1.0, 2.0)))
    cells = {(one.name.split("_")[0], one.data_share, one.budget) for one in variants}
    assert len(cells) == len(variants) == 3 * 2 * 2
    assert variants[0].name == "full"
    recipe = Recipe(base=lift(), tokens={"true": Path("unused")})
    shapes = {recipe.run(one, steps=9, seed=0).model.width for one in variants}
    assert shapes == {64, 128, 192}


def test_a_sweep_trains_and_writes_a_law(flags, base):
    config = Sweep(study=replace(flags, steps=1, clips=2, seeds=1), shares=(1.0, 0.5))
    page = sweep.run(config, base=base)
    text = page.with_suffix(".md").read_text()
    assert "loss = " in text and "frames^−" in text and "parameters^−" in text
    assert len(list(page.parent.glob("runs/*/*.json"))) == 3 * 2


def test_a_grid_is_a_study_of_the_same_kind(flags, base):
    only = ("full", "gamma_1")
    page = grid.run(Grid(study=replace(flags, only=only)), base=base)
    assert "gamma_1 − full, equal steps (2 seeds)" in page.with_suffix(".md").read_text()


def test_the_plan_for_a_gpu_is_commands_that_run_one_cell_each(flags):
    text = plan_text(shares=(1.0, 0.25), flags=replace(flags, steps=500))
    commands = [line for line in text.splitlines() if line.startswith("roboscape")]
    assert len(commands) == 6
    for line in commands:
        words = shlex.split(line, comments=True)
        found = parse("reproduce sweep", words[3:])
        (cell,) = found.study.only
        assert cell in {one.name for one in sweep_variants(found)}
        assert (found.study.device, found.study.steps, found.sizes) == ("cuda", 500, "paper")


def test_costs_follow_weights_and_steps():
    one, other = estimate(small(), steps=100), estimate(large(), steps=100)
    ratio = other.hours / one.hours
    assert 10 < ratio < 20
    assert estimate(small(), steps=200).hours == pytest.approx(2 * one.hours)
    # 6 operations a weight and token of each branch: 34M weights, 16 clips of 15 frames of 256.
    assert one.hours == pytest.approx(6 * 34e6 * 2 * 16 * 15 * 256 * 100 / 2e14 / 3600, rel=0.05)
