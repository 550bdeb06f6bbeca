"""A study does what is missing and nothing else, seed by seed, at equal steps or equal cost."""

import json
from dataclasses import replace

import pytest

from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.reproduce import table2
from roboscape.reproduce.results import CPU, STEPS
from roboscape.reproduce.setup import StudyFlags, StudyPlan, open_study, protocols_of
from roboscape.reproduce.table2 import Table2
from roboscape.reproduce.variants import table2_variants

NAMES = ("full", "none")
TIMES = ("cpu_s", "measuring_cpu_s")


def study_of(flags, base, **changes):
    plan = StudyPlan(name="table2", flags=flags, variants=table2_variants(), base=base)
    return replace(open_study(plan), only=NAMES, **changes)


def results_of(root):
    found = {}
    for path in sorted(root.glob("runs/*/*.json")):
        content = json.loads(path.read_text())
        found[path.parent.name, path.stem] = {k: v for k, v in content.items() if k not in TIMES}
    return found


def test_a_resumed_study_equals_one_that_was_never_interrupted(flags, base, tmp_path):
    whole = study_of(flags, base)
    whole.run()
    other = replace(flags, output=tmp_path / "resumed")
    # Stopped after the first variant of the first seed, and begun anew by another process.
    replace(study_of(other, base), only=("full",), seeds=(0,)).run()
    (first,) = other.output.glob("runs/full/*.json")
    written = first.stat().st_mtime_ns
    study_of(other, base).run()
    assert first.stat().st_mtime_ns == written
    assert results_of(other.output) == results_of(flags.output)
    assert len(results_of(flags.output)) == 4
    # Reading trains nothing, and needs neither data nor weights nor the flags of the runs.
    for path in flags.output.glob("runs/none/*seed1.json"):
        path.unlink()
    nowhere = tmp_path / "nowhere"
    docs = tmp_path / "page.md"
    docs.write_text("<!-- measured: table2 small -->\n<!-- /measured: table2 small -->\n")
    reading = StudyFlags(
        train=nowhere,
        validation=nowhere,
        checkpoint="none",
        output=flags.output,
        read=True,
        page=docs,
        place="table2 small",
    )
    page = table2.run(Table2(study=reading), base=base)
    assert "](media/reproduce_table2_small_steps.png)" in docs.read_text()
    assert len(results_of(flags.output)) == 3
    text = page.with_suffix(".md").read_text()
    assert "none − full, equal steps (1 seed)" in text
    assert "one seed: no test" in text
    assert page.read_text().count("<img") == 1


def test_every_seed_has_all_variants_before_the_next_begins(flags, base):
    study = study_of(replace(flags, seeds=3), base)
    order = [(one.variant.name, one.seed) for one in study.plan()]
    assert order == [(name, seed) for seed in range(3) for name in NAMES]


@pytest.fixture
def timed(flags, base):
    """A study whose costs are known: `none` takes half a step, `full` two seconds."""
    study = study_of(replace(flags, steps=None, budget_s=120.0), base)
    for name, step_s, ratio in (
        ("full", 2.0, 1.0),
        ("none", 1.0, 0.5),
        ("no_attention", 1.95, 0.975),
    ):
        study.results.save_cost(name, {"step_s": step_s, "ratio": ratio})
    return study


def test_equal_cost_gives_a_cheaper_variant_more_steps(timed):
    variants = {variant.name: variant for variant in timed.variants}
    assert timed.steps(variants["full"], CPU) == timed.steps(variants["none"], STEPS) == 60
    assert timed.steps(variants["none"], CPU) == 120
    # Within a tenth the same runs serve both protocols.
    assert timed.steps(variants["no_attention"], CPU) == 60
    assert [(one.variant.name, one.steps) for one in replace(timed, seeds=(0,)).plan()] == [
        ("full", 60),
        ("none", 120),
        ("none", 60),
    ]


def test_equal_steps_need_the_cost_of_the_reference_alone(timed):
    alone = replace(timed, protocols=(STEPS,))
    for path in timed.results.root.glob("costs/no*.json"):
        path.unlink()
    alone.time_steps()
    assert sorted(path.stem for path in timed.results.root.glob("costs/*")) == ["full"]
    assert {one.steps for one in alone.plan()} == {60}
    none = next(one for one in timed.variants if one.name == "none")
    assert alone.is_timed(none, STEPS) and not alone.is_timed(none, CPU)


def test_one_protocol_alone_can_be_run(flags, base):
    plan = StudyPlan(name="table2", flags=flags, variants=table2_variants(), base=base)
    both = replace(plan, flags=replace(flags, steps=None, budget_s=120.0))
    assert protocols_of(both) == (CPU, STEPS)
    assert protocols_of(replace(both, flags=replace(both.flags, protocols=("steps",)))) == (STEPS,)
    with pytest.raises(UserError, match="expected --protocols of steps for this study, got cpu"):
        protocols_of(replace(plan, flags=replace(flags, steps=3, protocols=("cpu",))))


def test_a_busy_machine_is_given_the_cost_of_a_quiet_one(timed):
    (full, *_) = timed.variants
    assert replace(timed, step_s=0.5).steps(full, CPU) == 240


def test_a_timed_cost_stays_the_first_one(timed):
    timed.results.save_cost("full", {"step_s": 9.0, "ratio": 1.0})
    timed.time_steps()
    assert timed.results.cost("full") == {"step_s": 2.0, "ratio": 1.0}


def test_results_of_other_settings_are_not_mixed(flags, base):
    study_of(flags, base)
    with pytest.raises(ValueError, match=r"settings \(reference_steps: was 3, now 4\); choose"):
        study_of(replace(flags, steps=4), base)

    def other_loss():
        return replace(base(), loss=replace(base().loss, keypoint=0.125))

    with pytest.raises(
        ValueError, match=r"settings \(recipe\.loss\.keypoint: was .*, now 0\.125\)"
    ):
        study_of(flags, other_loss)


def test_settings_that_change_no_result_may_differ(flags, base):
    study_of(flags, base)

    def other_saving():
        run = base()
        fit = replace(
            run.fit, log_every=3, evaluate_every=5, checkpoint_every=7, keep_checkpoints=9
        )
        return replace(run, fit=fit, recompute=not run.recompute, loaders=1, dry_run=True)

    assert study_of(flags, other_saving).recipe.base.fit.keep_checkpoints == 9


def test_a_folder_from_before_a_setting_without_effect_goes_on(flags, base):
    study = study_of(flags, base)
    settings = study.results.settings
    del settings["recipe"]["fit"]["keep_checkpoints"]
    write_json(study.results.root / "settings.json", settings)
    assert study_of(flags, base).results.settings == settings


def test_a_run_that_fails_leaves_no_result(flags, base):
    def exploding():
        run = base()
        rates = {"learning_rate": 1e30, "muon_learning_rate": 1e30}
        return replace(run, optimizer=replace(run.optimizer, **rates))

    with pytest.raises(FloatingPointError):
        study_of(replace(flags, steps=4), exploding).run()
    assert not results_of(flags.output)
    assert not list(flags.output.glob("runs/*/.*"))


def test_a_page_of_nothing_is_refused(flags, base):
    study_of(flags, base)
    with pytest.raises(ValueError, match="no finished run of this study"):
        table2.run(Table2(study=replace(flags, read=True)), base=base)


def test_a_folder_without_a_study_is_refused(flags, base, tmp_path):
    flags = replace(flags, read=True, output=tmp_path / "empty")
    with pytest.raises(UserError, match="empty holds no results of a study"):
        table2.run(Table2(study=flags), base=base)
    assert not flags.output.exists()


def test_an_unknown_variant_is_refused_by_name(flags, base):
    with pytest.raises(ValueError, match="no variant nonsense; there are: full, no_depth"):
        replace(study_of(flags, base), only=("nonsense",)).run()


def test_a_quick_study_has_a_folder_of_its_own(flags):
    quick = replace(flags, steps=None, quick=True).settled()
    assert (quick.output, quick.seeds, quick.quick) == (flags.output / "quick", 2, False)
