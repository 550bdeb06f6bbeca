import os
import threading

import pytest
import torch
from torch import nn

from roboscape.core.seeding import generator_for
from roboscape.training.learner import Microbatch
from roboscape.training.loop import FitConfig, fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution
from roboscape.training.prefetch import AHEAD, prefetching


def who_prepares(number):
    return number, torch.full((3,), float(number)), os.getpid(), threading.get_ident()


@pytest.mark.parametrize("loaders", [0, 1, 2])
def test_batches_come_in_order_from_elsewhere(loaders):
    with prefetching(who_prepares, range(5, 17), loaders=loaders) as batches:
        found = list(batches)
    numbers, tensors, processes, threads = zip(*found, strict=True)
    assert numbers == tuple(range(5, 17))
    assert [tensor.tolist() for tensor in tensors] == [[float(n)] * 3 for n in numbers]
    assert len(set(processes)) == max(1, loaders)
    if loaders:
        assert os.getpid() not in processes
    else:
        assert set(processes) == {os.getpid()}
        assert threading.get_ident() not in threads


def test_a_thread_stays_only_so_far_ahead():
    begun, third = [], threading.Event()

    def prepare(number):
        begun.append(number)
        if len(begun) == 1 + AHEAD:
            third.set()

    with prefetching(prepare, range(100)) as batches:
        next(batches)
        assert third.wait(timeout=30)
    assert begun == list(range(1 + AHEAD))


@pytest.mark.parametrize("loaders", [0, 2])
def test_an_error_is_raised_at_its_turn(loaders):
    def prepare(number):
        if number == 3:
            raise ValueError("shard 3 is damaged")
        return number

    with prefetching(prepare, range(9), loaders=loaders) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="shard 3 is damaged"):
            next(batches)


def train(run, *, loaders):
    torch.manual_seed(0)
    model = nn.Linear(4, 4)

    def prepare(number):
        x = torch.randn(8, 4, generator=generator_for(0, number))
        return [Microbatch(content=x, counts={"all": 8.0})]

    def step(piece):
        noise = torch.randn(8, 4)  # from the global generator, which loading must leave alone
        return (model(piece.content) - noise).square().mean(), {}

    return fit(
        model,
        step=step,
        optimizer=make_optimizer(model, config=OptimizerConfig(), precision="fp32"),
        config=FitConfig(steps=8),
        run=run,
        prepare=prepare,
        execution=Execution(loaders=loaders),
    )


def test_who_prepares_changes_nothing(tmp_path):
    a, b = (train(tmp_path / str(loaders), loaders=loaders) for loaders in (0, 2))
    assert torch.equal(a.weight, b.weight)
