from dataclasses import replace

import pytest
import torch

from roboscape.rollout.imagine import Imagination
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.inference import for_imagining
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs

CONFIG = WorldModelConfig(
    control_size=3, num_layers=2, width=16, heads=2, code_bits=6, grid=(2, 3), max_frames=4
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = WorldModel(CONFIG).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model.requires_grad_(requires_grad=False)


@pytest.fixture
def inputs():
    tokens = torch.randint(64, (2, 2, 4, 6)).int()
    return next_frame_inputs(tokens, torch.randn(2, 4, 3))


def test_fp32_is_the_model_itself(model):
    assert for_imagining(model, dtype=torch.float32) is model


def test_every_hidden_layer_computes_in_the_format_and_the_rest_in_fp32(model):
    prepared = for_imagining(model, dtype=torch.bfloat16)
    halves = {name for name, p in prepared.named_parameters() if p.dtype == torch.bfloat16}
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2}
    tables = tuple(model.tables())
    assert halves == {name for name in matrices if not name.startswith(tables)}
    assert prepared.hidden_dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters()), "a copy, not the model"


def test_logits_are_those_of_training_under_autocast(model, inputs):
    prepared = for_imagining(model, dtype=torch.bfloat16)
    exact = torch.stack(model(inputs))
    with torch.autocast("cpu", torch.bfloat16):
        trained = torch.stack(model(inputs)).float()
    error = (torch.stack(prepared(inputs)) - exact).abs().mean()
    assert 0 < error < 1.2 * (trained - exact).abs().mean()


@pytest.mark.parametrize("branches", ["both", "rgb"])
def test_a_rollout_in_bf16_goes_the_way_of_fp32(branches):
    torch.manual_seed(0)
    model = (
        WorldModel(replace(CONFIG, branches=branches)).eval().requires_grad_(requires_grad=False)
    )
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    prompt = torch.randint(64, (2, 1, 6)).int()
    controls = torch.randn(2, 6, 3)
    vectors = []
    for dtype in (torch.float32, torch.bfloat16):
        imagination = Imagination(for_imagining(model, dtype=dtype), batch=2)
        imagination.reset(
            rgb=prompt,
            depth=prompt if branches == "both" else None,
            controls=controls[:, :1],
        )
        vectors.append(imagination.step(controls[:, 1]).rgb_soft.vectors)
    assert torch.allclose(vectors[0], vectors[1], atol=0.1)
    assert not torch.equal(vectors[0], vectors[1])
