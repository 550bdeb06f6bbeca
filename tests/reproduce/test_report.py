"""The page says better and worse by the metric's own direction, and fills its place in the docs."""

import numpy as np
import pytest

from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.measuring import METRICS, SECONDARY
from roboscape.reproduce.page import Heading, Paragraph, Plot, Table, fill, html, markdown
from roboscape.reproduce.plots import difference_plot
from roboscape.reproduce.report import (
    Contrast,
    contrast_table,
    contrasts_of,
    means_table,
    p_text,
    summary_blocks,
    under,
    verdict,
)
from roboscape.reproduce.results import CPU, STEPS, ResultFolder, RunResult
from roboscape.reproduce.statistics import compare, corrected
from roboscape.reproduce.table2 import PAPER, paper_table
from roboscape.reproduce.variants import Variant

BY_KEY = {metric.key: metric for metric in METRICS}


def effect(metric, size, *, noise=0.01):
    random = np.random.default_rng(5)
    reference = random.normal(size=(5, 8))
    return compare(metric, reference + size + noise * random.normal(size=(5, 1)), reference)


def contrast(**sizes):
    found = corrected([effect(name, size) for name, size in sizes.items()])
    return Contrast(
        variant="no_depth", against="full", protocol="cpu", seeds=(0, 1, 2, 3, 4),
        comparisons=tuple(found),
    )  # fmt: skip


def finished(variant, *, steps, seed, psnr):
    scores = {metric.key: [None, None] for metric in (*METRICS, *SECONDARY)}
    return RunResult(
        variant=variant, what="", seed=seed, steps=steps, cpu_s=1.0, measuring_cpu_s=1.0,
        parameters=1, frames=1, losses={}, training_losses={}, machine="", commit="",
        scores=scores | {"psnr": [psnr, psnr + seed]},
    )  # fmt: skip


def test_runs_that_two_protocols_share_are_shown_and_compared_once(tmp_path):
    results = ResultFolder(tmp_path)
    for name, ratio in (("full", 1.0), ("costs_the_same", 1.05), ("costs_half", 0.5)):
        results.save_cost(name, {"step_s": ratio, "ratio": ratio})
    for seed in (0, 1):
        for name, steps, psnr in (
            ("full", 100, 20.0),
            ("costs_the_same", 100, 21.0),
            ("costs_half", 100, 19.0),
            ("costs_half", 200, 24.0),
        ):
            results.save(finished(name, steps=steps, seed=seed, psnr=psnr))
    study = StudyDesign(
        variants=(
            Variant(name="full", what=""),
            Variant(name="costs_the_same", what="", against="full"),
            Variant(name="costs_half", what="", against="full"),
        ),
        results=results,
        budget_s=100.0,
        seeds=(0, 1),
        protocols=(CPU, STEPS),
    )
    table = means_table(study)
    assert [row[:4] for row in table.rows] == [
        ("full: ", "equal steps and CPU seconds", "2", "100"),
        ("costs_the_same: ", "equal steps and CPU seconds", "2", "100"),
        ("costs_half: ", "equal CPU seconds", "2", "200"),
        ("costs_half: ", "equal steps", "2", "100"),
    ]
    found = contrasts_of(study)
    differences = {(one.variant, one.protocol): one.of("psnr").difference for one in found}
    assert differences == {
        ("costs_the_same", "both"): 1.0, ("costs_half", CPU): 4.0, ("costs_half", STEPS): -1.0,
    }  # fmt: skip
    assert [one.variant for one in under(found, STEPS)] == ["costs_the_same", "costs_half"]


def test_a_verdict_follows_the_metrics_direction_and_the_corrected_test():
    found = contrast(psnr=-0.5, abs_rel=0.5, ssim=0.5, mse=-0.5, delta1=0.0)
    said = {one.metric: verdict(one, BY_KEY[one.metric]) for one in found.comparisons}
    assert said == {
        "psnr": "worse", "abs_rel": "worse", "ssim": "better", "mse": "better", "delta1": "open",
    }  # fmt: skip


def test_the_table_shows_a_row_a_metric_with_dashes_where_nothing_is():
    rows = {row[0]: row[1:] for row in contrast_table(contrast(psnr=-0.5)).rows}
    assert len(rows) == len(METRICS)
    assert rows["PSNR, dB ↑"][0] == "-0.50"
    assert set(rows["AbsRel ↓"]) == {"–"}


def test_one_table_has_all_contrasts_and_marks_what_tests_tell_from_chance():
    heading, text, table = summary_blocks([contrast(psnr=-0.5, delta1=0.0)])
    assert isinstance(heading, Heading) and isinstance(text, Paragraph)
    assert isinstance(table, Table)
    (row,) = table.rows
    cells = dict(zip(table.header, row, strict=True))
    assert cells["variant − reference"] == "no_depth − full" and cells["seeds"] == "5"
    assert cells["PSNR, dB ↑"].startswith("**-0.50** [-0.")
    assert "**" not in cells["δ₁ ↑"] and cells["δ₁ ↑"] != "–"
    assert cells["AbsRel ↓"] == "–"
    assert summary_blocks([]) == []


def test_signs_are_compared_with_the_papers():
    table = paper_table([contrast(psnr=-0.5, delta_psnr=-0.5, abs_rel=0.4, delta1=0.0)])
    signs = {row[2]: row[5] for row in table.rows}
    assert PAPER["no_depth"]["psnr"] > 0 and PAPER["no_depth"]["abs_rel"] > 0
    assert signs == {
        "PSNR": "opposite sign", "ΔPSNR": "opposite sign", "AbsRel": "same sign", "δ₁": "open",
    }  # fmt: skip


def test_p_values_are_short():
    assert [p_text(p) for p in (None, 1.0, 0.0625, 0.00001)] == ["–", "1", ".0625", "< .0001"]


def test_a_page_has_its_pictures_inside_and_its_tables_in_the_docs(tmp_path):
    plot = Plot(name="x", caption="differences", figure=difference_plot([contrast(psnr=1.0)]))
    plot.figure.savefig(tmp_path / "x.png")
    blocks = [Heading("One"), Table(header=("a",), rows=(("1 < 2",),)), plot, Paragraph("two")]
    assert "| a |\n| --- |\n| 1 < 2 |" in markdown(blocks)
    shown = html("T", blocks, folder=tmp_path)
    assert "1 &lt; 2" in shown and "data:image/png;base64," in shown
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: s -->\nold\n<!-- /measured: s -->\nafter\n")
    for _ in range(2):
        fill(page, "s", blocks)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old" not in text and "### One" in text
    assert "![differences](media/reproduce_s_x.png)" in text
    assert (tmp_path / "media" / "reproduce_s_x.png").read_bytes()[:4] == b"\x89PNG"
    assert text.count("| a |") == 1
    with pytest.raises(ValueError, match="no place"):
        fill(page, "other", blocks)
