import json
from dataclasses import replace

import pytest
import torch

from roboscape.core.attention import attend
from roboscape.presets.world_model import PRESETS
from roboscape.world_model.cache import Cache
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs
from roboscape.world_model.timesteps import causal_bias, rotate, rotation_at

CONFIG = WorldModelConfig(
    control_size=3, num_layers=2, width=16, heads=2, code_bits=6, grid=(2, 3), max_frames=4
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return WorldModel(CONFIG)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(64, (2, 2, 4, 6), generator=generator).int()
    return next_frame_inputs(tokens, torch.randn(2, 4, 3, generator=generator))


def test_logits_have_one_table_a_factor_and_start_uniform(model, inputs):
    rgb, depth = model(inputs)
    assert rgb.shape == depth.shape == (2, 3, 6, 2, 8)
    assert not rgb.any()


@pytest.mark.parametrize(("preset", "millions"), [("small", 34), ("medium", 131), ("large", 544)])
def test_one_branch_has_the_papers_number_of_parameters(preset, millions):
    with torch.device("meta"):
        model = WorldModel(replace(PRESETS[preset]().model, control_size=16))
    assert model.parameter_counts()["one branch"] / 1e6 == pytest.approx(millions, rel=0.04)


def test_every_preset_is_complete():
    assert {name: preset().output.name for name, preset in PRESETS.items()}
    genie = PRESETS["genie"]()
    assert (genie.model.objective, genie.model.branches) == ("masked", "rgb")
    assert genie.loss.keypoint == genie.loss.attention == genie.loss.depth == 0


def test_save_and_load_are_equal(model, inputs, tmp_path):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(tmp_path)
    loaded = WorldModel.from_pretrained(tmp_path)
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    for before, after in zip(model(inputs), loaded(inputs), strict=True):
        torch.testing.assert_close(before, after)


def test_a_config_that_disagrees_names_the_first_tensor(model, tmp_path):
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"width": 32}))
    with pytest.raises(ValueError, match=r"branches\.0\.blocks\.0\.contract\.weight.*\(32, 128\)"):
        WorldModel.from_pretrained(tmp_path)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(i, j):
        a, b = (
            rotate(x, rotation_at(torch.tensor([at]), head_size=8, base=100.0))
            for x, at in ((q, i), (k, j))
        )
        return (a * b).sum()

    torch.testing.assert_close(score(5, 2), score(100_005, 100_002), atol=1e-4, rtol=1e-4)
    assert not torch.isclose(score(5, 2), score(5, 3))


def test_rotation_keeps_lengths():
    x = torch.randn(2, 3, 4, 8)
    turned = rotate(x, rotation_at(torch.arange(4), head_size=8, base=100.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_the_causal_window():
    visible = causal_bias(4, window=2, device=torch.device("cpu")) == 0
    assert visible.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_attend_equals_pytorchs_own():
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    bias = causal_bias(5, window=3, device=torch.device("cpu"))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(attend(q, k, v, bias=bias), expected)


def test_a_cache_takes_one_timestep_at_a_time_once_it_has_begun(model, inputs):
    cache = Cache(CONFIG, batch=2)
    with pytest.raises(ValueError, match="`again`"):
        model.features(inputs, cache=cache, turn="again")
    with torch.no_grad():
        model.features(inputs, cache=cache)
    with pytest.raises(ValueError, match="one by one"):
        model.features(inputs, cache=cache)


@pytest.mark.parametrize("change", [{"width": 18, "heads": 4}, {"factors": 4}, {"max_frames": 1}])
def test_sizes_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=r"width|divide|max_frames"):
        WorldModelConfig(**{"control_size": 3, "code_bits": 18, **change})
