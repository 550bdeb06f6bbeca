import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from roboscape.core.files import read_json
from roboscape.core.seeding import generator_for
from roboscape.training.checkpoint import checkpoints
from roboscape.training.formats import FORMATS
from roboscape.training.learner import StopConfig
from roboscape.training.loop import FitConfig, fit, fit_in_fp32, read_metrics
from roboscape.training.newton_schulz import orthogonalize
from roboscape.training.optimizer import (
    MuonAdamW,
    OptimizerConfig,
    make_optimizer,
    rate_at,
)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 6))


def regression(model, *, fail_at=None, signal_at=(None, 0), signals=1):
    """A small task: multiply by a fixed matrix."""
    target = torch.randn(6, 6, generator=generator_for(7))

    def step(index):
        if index == fail_at:
            raise KeyboardInterrupt
        if index == signal_at[0]:
            for _ in range(signals):
                os.kill(os.getpid(), signal_at[1])
        x = torch.randn(32, 6, generator=generator_for(0, 0, index))
        return (model(x) - x @ target).square().mean(), {}

    return step


def train(run, *, steps=12, kind="muon", fail_at=None, signal_at=(None, 0), signals=1, **options):
    model = make_model()
    optimizer = make_optimizer(
        model,
        config=OptimizerConfig(
            kind=kind, warmup_steps=2, learning_rate=0.02, muon_learning_rate=0.1
        ),
        precision="fp32",
    )
    config = FitConfig(steps=steps, log_every=1, checkpoint_every=5, **options)
    step = regression(model, fail_at=fail_at, signal_at=signal_at, signals=signals)
    return fit(model, step=step, optimizer=optimizer, config=config, run=run)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, kind):
    whole = train(tmp_path / "whole", kind=kind)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", kind=kind, fail_at=8)
    resumed = train(tmp_path / "parts", kind=kind)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    metrics = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    losses = [[line["loss"] for line in lines] for lines in metrics]
    assert losses[0] == losses[1]


def test_a_small_model_is_trained_in_fp32_and_returned_as_it_is_used(tmp_path):
    model = make_model()
    seen = []

    def evaluate(average):
        seen.append(average)
        return {}

    trained = fit_in_fp32(
        model,
        step=regression(model),
        optimizer=OptimizerConfig(kind="adamw"),
        config=FitConfig(steps=2, evaluate_every=2),
        run=tmp_path,
        evaluate=evaluate,
    )
    assert read_json(tmp_path / FORMATS) == {"matmul": "fp32"}
    assert seen == [trained]
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_request_to_stop_finishes_the_step_and_saves_it(tmp_path, number, raised):
    whole = train(tmp_path / "whole")
    before = signal.getsignal(number)
    with pytest.raises(raised):
        train(tmp_path / "parts", signal_at=(7, number))
    assert checkpoints(tmp_path / "parts" / "checkpoints")[-1].name == "step_00000008"
    assert signal.getsignal(number) is before
    resumed = train(tmp_path / "parts")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_second_request_stops_at_once_and_saves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, signal_at=(7, signal.SIGINT), signals=2)
    names = [path.name for path in checkpoints(tmp_path / "checkpoints")]
    assert names == ["step_00000005"]


def test_a_request_in_the_last_step_is_no_reason_to_fail(tmp_path):
    train(tmp_path, signal_at=(11, signal.SIGTERM))
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step_00000012"


def test_killed_between_checkpoints_equals_uninterrupted(tmp_path):
    whole = train(tmp_path / "whole")

    class Killed(BaseException):
        pass

    model = make_model()
    optimizer = make_optimizer(
        model,
        config=OptimizerConfig(warmup_steps=2, learning_rate=0.02, muon_learning_rate=0.1),
        precision="fp32",
    )
    inner = regression(model)

    def step(index):
        if index == 8:
            raise Killed  # nothing is saved on the way out, as with kill -9
        return inner(index)

    config = FitConfig(steps=12, log_every=1, checkpoint_every=5)
    with pytest.raises(Killed):
        fit(model, step=step, optimizer=optimizer, config=config, run=tmp_path / "parts")
    resumed = train(tmp_path / "parts")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    whole = train(tmp_path / "run")
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    (newest / "state.safetensors").write_bytes(b"half")
    again = train(tmp_path / "run")
    assert "damaged" in caplog.text
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_only_the_newest_checkpoints_stay(tmp_path):
    train(tmp_path / "run", steps=22)
    names = [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == ["step_00000020", "step_00000022"]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_loss_falls(tmp_path, kind):
    train(tmp_path, steps=150, kind=kind)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[-1] < 0.5 * losses[0]


def test_loss_that_is_no_number_stops_the_run(tmp_path):
    model = make_model()
    optimizer = make_optimizer(model, config=OptimizerConfig(), precision="fp32")

    def step(_):
        return model(torch.full((1, 6), float("nan"))).sum(), {}

    with pytest.raises(FloatingPointError, match="step 0"):
        fit(model, step=step, optimizer=optimizer, config=FitConfig(steps=2), run=tmp_path)
    assert not checkpoints(tmp_path / "checkpoints")


def test_adamw_equals_torch(tmp_path):
    ours, theirs = make_model(), make_model()
    config = OptimizerConfig(kind="adamw", learning_rate=0.01, weight_decay=0.1)
    optimizer = make_optimizer(ours, config=config)
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    vectors = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=config.betas, eps=1e-8)
    for index in range(5):
        for model, stepper in ((ours, optimizer), (theirs, reference)):
            stepper.zero_grad()
            regression(model)(index)[0].backward()
            if isinstance(stepper, MuonAdamW):
                stepper.set_rate(1.0)
            stepper.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_orthogonalized_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 24, 8, generator=generator_for(1))
    values = torch.linalg.svdvals(orthogonalize(matrices, dtype=torch.float32))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_rate_warms_up_holds_and_decays_to_zero():
    config = OptimizerConfig(warmup_steps=10, decay_fraction=0.5)
    rates = [rate_at(step, steps=100, config=config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[30] == 1.0
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def test_config_refuses_no_steps():
    with pytest.raises(ValueError, match="steps >= 1"):
        FitConfig(steps=0)


def validations(values):
    """An evaluation that reports these figures in turn, then its last one for ever."""
    turn = iter(values)

    def evaluate(_):
        return {"error": next(turn, values[-1])}

    return evaluate


def train_with_stop(run, *, evaluate, after=2, better="lower", fail_at=None, steps=12, **options):
    """Validated before the first step and after every second one."""
    model = make_model()
    optimizer = make_optimizer(
        model,
        config=OptimizerConfig(warmup_steps=2, learning_rate=0.02, muon_learning_rate=0.1),
        precision="fp32",
    )
    config = FitConfig(
        steps=steps,
        log_every=1,
        evaluate_every=2,
        checkpoint_every=5,
        stop=StopConfig(figure="error", better=better, after=after),
        **options,
    )
    return fit(
        model,
        step=regression(model, fail_at=fail_at),
        optimizer=optimizer,
        config=config,
        run=run,
        evaluate=evaluate,
    )


def same(a, b):
    """Whether two models have the same weights, bit for bit."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("average_decay", [0.99, 0.0])
def test_validation_ends_the_training_and_the_best_average_is_released(tmp_path, average_decay):
    # Best after step 4; no better after 6 and 8.
    figures = [5.0, 4.0, 1.0, 2.0, 1.0, 0.0]
    found = train_with_stop(
        tmp_path / "run", evaluate=validations(figures), average_decay=average_decay
    )
    steps = [x["step"] for x in read_metrics(tmp_path / "run/metrics.jsonl") if "loss" in x]
    assert steps == list(range(1, 9))
    with pytest.raises(SystemExit):
        # The schedule of twelve steps, but the weights of the fourth.
        train(tmp_path / "four", average_decay=average_decay, signal_at=(3, signal.SIGTERM))
    tensors = load_file(checkpoints(tmp_path / "four/checkpoints")[-1] / "state.safetensors")
    kind = "average" if average_decay else "model"
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, tensors[f"{kind}/{name}"])


def test_a_start_that_nothing_beats_is_released(tmp_path):
    found = train_with_stop(tmp_path, evaluate=validations([1.0, 2.0]))
    assert same(found, make_model())


def test_a_figure_may_be_one_that_rises(tmp_path):
    train_with_stop(tmp_path, evaluate=validations([1.0, 2.0, 3.0, 3.0]), better="higher")
    steps = [x["step"] for x in read_metrics(tmp_path / "metrics.jsonl") if "loss" in x]
    assert steps[-1] == 8


def test_without_a_limit_all_steps_are_done_and_the_best_is_kept(tmp_path):
    found = train_with_stop(tmp_path, evaluate=validations([1.0, 2.0]), after=0)
    steps = [x["step"] for x in read_metrics(tmp_path / "metrics.jsonl") if "loss" in x]
    assert steps[-1] == 12
    assert same(found, make_model())


def weight_error(model):
    """A figure of the weights alone, which falls and rises again in this task."""
    return {"error": abs(sum(p.abs().sum().item() for p in model.parameters()) - 37.0)}


@pytest.mark.parametrize("fail_at", [1, 6, 7, 9])
def test_a_stopped_training_resumes_with_the_best_so_far(tmp_path, fail_at):
    whole = train_with_stop(tmp_path / "whole", evaluate=weight_error, after=3, steps=30)
    with pytest.raises(KeyboardInterrupt):
        train_with_stop(
            tmp_path / "parts", evaluate=weight_error, after=3, steps=30, fail_at=fail_at
        )
    resumed = train_with_stop(tmp_path / "parts", evaluate=weight_error, after=3, steps=30)
    assert same(whole, resumed)
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    errors = [[(x["step"], x.get("validation_error")) for x in found] for found in lines]
    assert errors[0] == errors[1]
    assert errors[0][-1][0] < 30


def test_a_training_that_validation_ended_is_not_begun_again(tmp_path):
    first = train_with_stop(tmp_path, evaluate=validations([1.0, 2.0]))
    before = (tmp_path / "metrics.jsonl").read_text()
    again = train_with_stop(tmp_path, evaluate=validations([0.0]))
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert same(first, again)


def test_a_figure_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(ValueError, match="no validation figure `error`; there are: loss"):
        train_with_stop(tmp_path, evaluate=lambda _: {"loss": 1.0})


def test_stopping_needs_a_figure():
    with pytest.raises(ValueError, match="validation figure"):
        StopConfig(after=2)


def test_a_best_before_an_interrupt_is_released_after_it(tmp_path):
    whole = train_with_stop(tmp_path / "whole", evaluate=validations([5.0, 1.0, 9.0]), after=3)
    with pytest.raises(KeyboardInterrupt):
        train_with_stop(
            tmp_path / "parts", evaluate=validations([5.0, 1.0, 9.0]), after=3, fail_at=7
        )
    resumed = train_with_stop(tmp_path / "parts", evaluate=validations([9.0]), after=3)
    assert same(whole, resumed)
    ends = [read_metrics(tmp_path / n / "metrics.jsonl")[-1]["step"] for n in ("whole", "parts")]
    assert ends == [8, 8]
