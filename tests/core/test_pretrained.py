from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from roboscape.core.pretrained import (
    bundled_models,
    halve_weights,
    load_model,
    load_weights,
    read_config,
    resolve,
    save_weights,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    width: int


def test_weights_and_config_come_back(tmp_path):
    layer = nn.Linear(3, 4)
    save_weights(layer, Size(width=4), tmp_path)
    again = nn.Linear(3, read_config(Size, tmp_path).width)
    load_weights(again, tmp_path)
    assert torch.equal(layer.weight, again.weight)


def test_a_loaded_model_is_for_use_and_not_for_training(tmp_path):
    layer = nn.Linear(3, 4)
    save_weights(layer, Size(width=4), tmp_path)
    again = load_model(lambda size: nn.Linear(3, size.width), Size, tmp_path)
    assert torch.equal(layer.weight, again.weight)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_whoever_may_read_the_configuration_may_read_the_weights(tmp_path):
    save_weights(nn.Linear(3, 4), Size(width=4), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    assert weights.stat().st_mode == config.stat().st_mode
    halve_weights(tmp_path)
    assert weights.stat().st_mode == config.stat().st_mode


def test_config_that_disagrees_with_weights_names_the_tensor(tmp_path):
    save_weights(nn.Linear(3, 4), Size(width=5), tmp_path)
    with pytest.raises(ValueError, match=r"`bias` should have shape \(5,\), the file has \(4,\)"):
        load_weights(nn.Linear(3, 5), tmp_path)


def test_truncated_weights_say_so(tmp_path):
    save_weights(nn.Linear(3, 4), Size(width=4), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="truncated"):
        load_weights(nn.Linear(3, 4), tmp_path)


def test_unknown_key_in_config_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text('{"width": 4, "widht": 5}')
    with pytest.raises(ValueError, match="widht"):
        read_config(Size, tmp_path)


def test_a_name_that_is_neither_folder_nor_repository(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"neither a bundled model.*lift.*nor a hub repository"):
        resolve("no/such-model-anywhere")


def test_halved_weights_load_as_before_but_rounded(tmp_path):
    layer = nn.Linear(30, 40)
    save_weights(layer, Size(width=40), tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_size
    halve_weights(tmp_path, keep=("bias",))
    again = nn.Linear(30, 40)
    load_weights(again, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * before
    assert torch.equal(layer.bias, again.bias)
    assert again.weight.dtype == torch.float32
    torch.testing.assert_close(layer.weight, again.weight, rtol=1e-3, atol=1e-4)


def test_bundled_models_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lift").mkdir()
    for name in ("lift", Path("lift")):
        assert (resolve(name) / "controls.json").is_file()
        assert (resolve(name, subfolder="tokenizer") / "model.safetensors").is_file()
    assert resolve("lift/tokenizer") == resolve("lift", subfolder="tokenizer")
    assert resolve("./lift").resolve() == tmp_path / "lift", "a folder is named by its path"
    assert resolve(tmp_path / "lift") == tmp_path / "lift"
    assert "lift" in bundled_models()
