import json
from dataclasses import replace

import pytest
import torch

from roboscape.bench.aims import AIMS, with_aim
from roboscape.bench.bench import Bench, run
from roboscape.bench.models import random_model, shape_of
from roboscape.bench.peaks import (
    FORMATS,
    Peaks,
    Task,
    fastest,
    matmul_task,
    measure_again,
    measure_peaks,
)
from roboscape.bench.record import Figure, Machine, Report
from roboscape.bench.rollout import Effort, agreement, measure_rollout
from roboscape.bench.table import compare, show
from roboscape.bench.timing import Limit, Work, figure, in_turns, ratio, repeated
from roboscape.cli import main
from roboscape.world_model.cache import LayerCache


def some_peak(name, value):
    return Figure(
        name=f"peak: {name}",
        value=value,
        unit="GFLOP/s",
        better="higher",
        low=value,
        high=value,
        samples=1,
    )


PEAKS = Peaks(figures=(some_peak("matmul fp32", 100.0), some_peak("matmul bf16", 250.0)))
MACHINE = Machine(name="abc 2", description="2 cores", threads=2, torch="2.13", load=0.0)


def some_report(**changes):
    slow = figure("rollout: plain", [2.0, 1.0, 4.0], unit="s/frame")
    limit = Limit(value=0.05, reason="5 GFLOP at the fp32 matmul peak")
    fast = figure("rollout: cached", [0.1], unit="s/frame", limit=limit)
    settings = {"preset": "small", "device": "cpu"}
    report = Report(machine=MACHINE, settings=settings, commit="0" * 40, figures=[slow, fast])
    return replace(report, **changes)


def test_a_report_survives_its_file(tmp_path):
    report = some_report(peaks=list(PEAKS.figures))
    report.save(tmp_path / "bench.json")
    assert Report.load(tmp_path / "bench.json") == report
    assert json.loads((tmp_path / "bench.json").read_text())["machine"]["threads"] == 2


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"loss": 1}')
    with pytest.raises(ValueError, match=r"other\.json"):
        Report.load(tmp_path / "other.json")


def test_a_figure_is_the_median_and_its_share_of_the_limit():
    plain, cached = some_report().figures
    assert (plain.value, plain.low, plain.high, plain.samples) == (2.0, 1.0, 4.0, 3)
    assert plain.share is None
    assert cached.share == pytest.approx(0.5)
    rate = replace(cached, better="higher", value=10.0, limit=40.0)
    assert rate.share == pytest.approx(0.25)


def test_a_ratio_is_taken_round_by_round():
    # The machine slowed down to a third for the second round; every ratio is still 4.
    found = ratio("gain", [4.0, 12.0, 4.0], [1.0, 3.0, 1.0])
    assert (found.value, found.low, found.high) == (4.0, 4.0, 4.0)


def test_works_take_turns_and_the_first_round_does_not_count():
    order = []
    times = in_turns(
        {
            "a": Work(call=lambda: order.append("a")),
            "b": Work(call=lambda: order.append("b"), repeats=2),
        },
        device="cpu",
        rounds=2,
    )
    assert "".join(order) == "abbabbabb"
    assert {name: len(samples) for name, samples in times.items()} == {"a": 2, "b": 2}


def test_repeated_warms_up_once_and_takes_at_least_so_many():
    calls = []
    assert len(repeated(lambda: calls.append(1), device="cpu", seconds=0.0, least=3)) == 3
    assert len(calls) == 4


def test_limits_follow_from_the_peaks():
    assert PEAKS.best_format == "bf16"
    assert PEAKS.is_bf16_fast
    assert PEAKS.seconds(1e12).value == pytest.approx(4.0)
    assert PEAKS.seconds(1e12, kind="fp32").value == pytest.approx(10.0)
    assert PEAKS.speedup(1.0, plain_flops=15.0).value == pytest.approx(37.5)


def test_limits_are_counted_in_the_format_asked_for():
    precise = replace(PEAKS, precision="fp32")
    assert precise.seconds(1e12).value == pytest.approx(10.0)
    assert not precise.is_bf16_fast


def test_aims_depend_on_the_machine_and_the_shape():
    name = "rollout: cached RGB, 1 pass against plain RGB, 2 passes"
    found = figure(name, [20.0], unit="x", better="higher")
    assert with_aim(found, "small", peaks=PEAKS).aim == 50
    slow = Peaks(figures=(PEAKS.figures[0], some_peak("matmul bf16", 0.3)))
    assert with_aim(found, "small", peaks=slow).aim == 25
    assert with_aim(found, "debug", peaks=PEAKS).aim is None


def test_the_fastest_size_is_the_peak_and_a_hopeless_format_is_given_up_early(monkeypatch):
    seconds = iter([0.01, 0.01, 2.0, 2.0])
    monkeypatch.setattr("roboscape.bench.peaks.seconds_of", lambda work, *, device: next(seconds))
    made = []

    def make(amount):
        made.append(amount)
        return Task(work=lambda: None, amount=amount)

    tasks = [lambda a=a: make(a) for a in (1e9, 2e9, 4e9)]
    assert max(fastest(tasks, device="cpu", seconds=0.0)) == pytest.approx(100.0)
    assert made == [1e9, 2e9]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_multiplies_what_it_says(name):
    product = matmul_task((8, 16, 24), dtype=FORMATS[name], device="cpu").work()
    assert product.shape == (8, 24)
    assert torch.all(product.float() == 16)


def test_the_peaks_of_this_machine_are_all_there():
    peaks = measure_peaks(device="cpu", frame=(16, 32, 64), seconds=0.0, largest=256)
    kinds = [figure.name.removeprefix("peak: ") for figure in peaks.figures]
    assert {"matmul fp32", "matmul bf16", "matmul int8", "memory copy"} <= set(kinds)
    assert {"convolution fp32", "convolution bf16", "matmul fp32 of one frame"} <= set(kinds)
    assert all(figure.value > 0 for figure in peaks.figures)
    again = measure_again(peaks, device="cpu", seconds=0.0)
    assert again.name == f"peak: matmul {peaks.best_format}, at the end"
    assert peaks.rate("matmul fp32") >= peaks.rate("matmul bf16") or peaks.best_format == "bf16"


def test_rollout_figures_of_a_small_shape():
    effort = Effort(rounds=1, horizon=80, seconds=0.0, batches=(2,))
    found = measure_rollout(preset="debug", device="cpu", peaks=PEAKS, effort=effort)
    figures = {figure.name: figure for figure in found.figures}
    assert {name for name in AIMS if name.startswith("rollout")} <= set(figures)
    assert figures["rollout: greedy tokens in fp32 equal to the plain form's"].value == 1.0
    assert figures["rollout: plain RGB, 2 passes"].limited_by.endswith("fp32 matmul peak")
    assert figures["rollout: cached RGB, 1 pass"].limited_by.endswith("bf16 matmul peak")
    (curve,) = found.curves
    assert curve.frames == (16,)


def test_a_cache_of_zeros_is_seen_by_the_comparison_with_the_plain_form(monkeypatch):
    model = random_model(shape_of("debug", branches="rgb"), device="cpu")
    frames = Effort(rounds=1, horizon=1, seconds=0.0, batches=()).compared_frames
    assert frames >= 8

    def equal_tokens() -> Figure:
        (found,) = agreement(model, model, dtype=torch.float32, frames=frames)
        return found

    assert (equal_tokens().value, equal_tokens().samples) == (1.0, frames)
    exchange = LayerCache.exchange

    def forgetful(cache, *arguments, **named):
        cache.buffer.zero_()
        return exchange(cache, *arguments, **named)

    monkeypatch.setattr(LayerCache, "exchange", forgetful)
    assert equal_tokens().low < 1.0


def test_the_table_shows_every_figure_beside_its_limit():
    text = show(some_report())
    row = next(line for line in text.splitlines() if line.startswith("rollout: cached"))
    assert row.split()[2:4] == ["0.1", "s/frame"]
    assert "50%" in row
    assert "WARNING" not in text
    ends = some_peak("matmul fp32, at the end", 60.0)
    assert "at 60% of its speed" in show(some_report(peaks=[*PEAKS.figures, ends]))
    assert "busy" in show(some_report(machine=replace(MACHINE, load=2.0)))


def test_comparing_shows_gains_on_the_same_machine_only():
    old, new = some_report(), some_report(commit="1" * 40)
    new.figures[1] = replace(new.figures[1], value=0.05)
    rows = compare(old, new).splitlines()
    assert any(row.startswith("rollout: cached") and row.endswith("2.00 x") for row in rows)
    other = some_report(machine=replace(MACHINE, name="xyz 64"))
    text = compare(old, other)
    assert "NOT COMPARABLE" in text
    assert "processor was abc 2, now xyz 64" in text
    assert "1.00 x" not in text
    assert "preset was small, now lift" in compare(
        old, some_report(settings={"preset": "lift", "device": "cpu"})
    )


def test_an_earlier_report_is_shown_and_compared_without_measuring(tmp_path, capsys):
    path = tmp_path / "bench.json"
    some_report().save(path)
    run(Bench(read=path, compare=path))
    shown = capsys.readouterr().out
    assert shown.count("rollout: cached") == 2
    assert "1.00 x" in shown


def test_a_preset_that_does_not_exist_is_a_users_mistake(caplog):
    with pytest.raises(SystemExit):
        main(["bench", "--preset", "smal"])
    assert "choose one of" in caplog.text


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="offers no CUDA GPU"):
        run(Bench(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_same_code_measures_a_gpu():
    peaks = measure_peaks(device="cuda", frame=(256, 256, 1024), seconds=0.1)
    effort = Effort(rounds=1, horizon=80, seconds=0.0, batches=(2,))
    found = measure_rollout(preset="debug", device="cuda", peaks=peaks, effort=effort)
    assert all(figure.value >= 0 for figure in found.figures)
