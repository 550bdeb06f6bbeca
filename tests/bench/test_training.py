"""Both forms learn the same, and what they take is measured in processes of their own."""

import numpy as np
import pytest
import torch

from roboscape.bench.loading import measure_loading
from roboscape.bench.peaks import Peaks
from roboscape.bench.record import Figure
from roboscape.bench.synthetic_store import make_store
from roboscape.bench.tokenizer import measure_tokenizer
from roboscape.bench.training import gains, run_in_child, step_figures
from roboscape.bench.training_child import Taken, Task, run
from roboscape.tokens.store import TokenStore

PEAKS = Peaks(
    figures=tuple(
        Figure(
            name=f"peak: matmul {kind}",
            value=value,
            unit="GFLOP/s",
            better="higher",
            low=value,
            high=value,
            samples=1,
        )
        for kind, value in (("fp32", 100.0), ("bf16", 200.0))
    )
)


def task(form, objective="RGB", **changes):
    settings = {"preset": "debug", "clips": 2, "steps": 3, "device": "cpu", "precision": "auto"}
    threads = torch.get_num_threads()
    return Task(form=form, objective=objective, threads=threads, **{**settings, **changes})


def test_both_forms_give_the_same_loss_curve():
    plain, ours = run(task("plain")), run(task("ours"))
    # Ours may compute in bf16, where that is fast.
    assert ours.losses == pytest.approx(plain.losses, rel=2e-3)
    assert plain.losses[2] < plain.losses[0]
    assert len(plain.pass_s) == len(ours.optimizer_s) == 3
    precise = [run(task(form, precision="fp32")).losses for form in ("plain", "ours")]
    assert run(task("ours recomputed")).losses == pytest.approx(ours.losses, rel=1e-5)
    assert precise[0] == pytest.approx(precise[1], rel=1e-5)


@pytest.mark.parametrize("form", ["plain", "ours"])
def test_either_form_keeps_freed_memory(form, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "roboscape.bench.training_child.keep_freed_memory", lambda: calls.append(form)
    )
    run(task(form, steps=1))
    assert calls == [form]


def test_the_plain_form_knows_rgb_alone():
    with pytest.raises(ValueError, match="RGB alone"):
        run(task("plain", "all terms"))
    assert len(run(task("ours", "all terms", steps=1)).losses) == 1


def test_a_child_measures_its_own_memory():
    hog = np.ones(2**27)
    taken = run_in_child(task("ours", steps=1))
    assert hog.nbytes == 2**30
    assert 100 < taken.peak_mib < 900


@pytest.mark.slow
def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match="there is no preset `smal`"):
        run_in_child(task("ours", preset="smal"))


def taken(seconds, losses, peak_mib):
    optimizer = [0.1] * len(seconds)
    return Taken(pass_s=seconds, optimizer_s=optimizer, losses=losses, peak_mib=peak_mib)


def test_gains_of_time_and_memory():
    plain = [taken([4.0, 5.0, 9.0], [2.0, 1.0, 1.0], 6000.0)]
    ours = [taken([2.5, 2.0, 3.0], [2.0, 1.01, 1.0], 2000.0)]
    time, memory, losses = gains(plain, ours, name="ours RGB against plain RGB")
    assert (time.value, memory.value) == (2.0, 3.0)
    assert losses.value == pytest.approx(0.01)
    seconds, *_ = step_figures(
        ours, form="ours", objective="RGB", preset="small", peaks=PEAKS, clips=1
    )
    # 15 rows of 256 tokens: 32 blocks of 16 x 256 x 256 weights and scores of 256 tokens and 15
    # rows, and a head; multiplied and added, forward once and backward twice, at 200 GFLOP/s.
    multiplied = 32 * (16 * 256**2 + 2 * 256 * (256 + 15)) + 256 * 1024
    assert seconds.limit == pytest.approx(6 * 15 * 256 * multiplied / 200e9, rel=1e-3)


def test_a_synthetic_store_is_a_store(tmp_path):
    make_store(tmp_path, episodes=4, rows=70, tokens_per_side=4)
    store = TokenStore(tmp_path)
    assert store.grid == (4, 4)
    assert store.batch(np.array([0, 5]), split="train").rgb.shape == (2, 16, 16)


def test_loading_and_tokenizer_figures():
    loading = measure_loading(preset="debug", peaks=PEAKS, seconds=0.0, episodes=4)
    tokenizer = measure_tokenizer(preset="debug", device="cpu", peaks=PEAKS, seconds=0.0)
    assert [figure.unit for figure in loading] == ["clips/s", "clips/s", "x"]
    assert len(tokenizer) == 4
    assert all(figure.value > 0 for figure in [*loading, *tokenizer])
    assert all(figure.limit for figure in tokenizer)
