import time

import pytest
import torch

from roboscape.core.threads import FastestThreads


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def work(*, slow_with):
    """Work that one number of threads is far slower with."""
    time.sleep(0.03 if torch.get_num_threads() == slow_with else 0.001)
    return torch.get_num_threads()


@pytest.mark.parametrize(("slow_with", "best"), [(2, 1), (1, 2)])
def test_every_size_of_work_gets_the_threads_that_it_is_fastest_with(slow_with, best):
    threads = FastestThreads((1, 2), trials=2)
    used = []
    for _ in range(6):
        with threads.of(8):
            used.append(work(slow_with=slow_with))
    assert used[:4] == [1, 2, 1, 2]
    assert used[4:] == [best, best] == [threads.choice(8)] * 2
    assert threads.choice(1) is None, "another size is measured on its own"


def test_where_there_is_one_count_nothing_is_tried():
    threads = FastestThreads((1, 1))
    assert threads.choice(3) == 1


def test_the_count_of_before_returns():
    torch.set_num_threads(2)
    threads = FastestThreads((1,))
    with threads.of("work"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="broke"), threads.of("work"):
        raise RuntimeError("broke")
    assert torch.get_num_threads() == 2


def test_a_work_that_fails_counts_for_nothing():
    threads = FastestThreads((1, 2), trials=1)
    with pytest.raises(RuntimeError, match="broke"), threads.of(1):
        raise RuntimeError("broke")
    assert threads.choice(1) is None
