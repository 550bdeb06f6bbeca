import pytest
import torch

from roboscape.core.device import resolve_device


@pytest.mark.parametrize(("offered", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, offered, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: offered)
    assert resolve_device("auto") == resolve_device() == expected
    assert resolve_device("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cpu"):
        resolve_device("cuda")
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        resolve_device("abacus")
