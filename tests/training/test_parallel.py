import pytest
import torch

from roboscape.training.parallel import ONE_RANK, Execution, init_distributed
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.train import block_names

SHAPE = WorldModelConfig(control_size=6, num_layers=3, width=32, heads=2, grid=(4, 4), max_frames=5)


def gradients(*, recompute):
    """Of a model past its zero initialisation; and how often a block ran."""
    torch.manual_seed(0)
    model = WorldModel(SHAPE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    codes = torch.randint(2**18, (2, 3, 4, 16))
    rows = ModelInputs(
        previous=codes,
        current=codes.flip(1),
        masked=torch.rand(codes.shape) < 0.5,
        controls=torch.randn(3, 4, 6),
    )
    (first, *_) = block_names(model)
    passes = []
    model.get_submodule(first).norm_mlp.register_forward_hook(lambda *_: passes.append(1))
    wrapped = Execution(blocks=block_names(model), recompute=recompute).apply(model)
    loss = sum(x.square().mean() for x in wrapped(model.features, rows))
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}, len(passes)


def test_recomputed_activations_give_the_same_gradients():
    kept, once = gradients(recompute=False)
    again, twice = gradients(recompute=True)
    assert (once, twice) == (1, 2)
    assert kept.keys() == again.keys()
    for name in kept:
        assert torch.equal(kept[name], again[name]), name
    assert any(gradient.abs().max() > 0 for name, gradient in kept.items() if name != "loss")


def test_many_processes_need_a_way_to_share(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="--parallel ddp"), init_distributed("none", device="cpu"):
        pass


def test_alone_nothing_is_summed_or_shared():
    value = torch.ones(2)
    assert ONE_RANK.sum(value) is value
    assert ONE_RANK.share("mine") == "mine"
    assert ONE_RANK.is_main
