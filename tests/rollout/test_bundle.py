from dataclasses import replace

import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, ControlStatistics
from roboscape.controls.signals import control_size
from roboscape.dataset.records import ActionConvention
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import imagine
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel

CONVENTION = ActionConvention(
    mode="delta",
    names=("x", "gripper"),
    units=("m", "1"),
    scale=(0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
SIZE = control_size(CONVENTION, stride=4, state_size=2)
CONTROLS = ControlStatistics(
    convention=CONVENTION, stride=4, state_size=2, mean=(0.5,) * SIZE, std=(2.0,) * SIZE
)
TOKENIZER = TokenizerConfig(
    image_size=32,
    encoder_width=8,
    decoder_width=16,
    decoder_blocks=1,
    decoder_heads=2,
    convolution_width=8,
    convolution_blocks=1,
)
SHAPE = WorldModelConfig(control_size=SIZE, num_layers=1, width=16, heads=2, grid=(2, 2))


@pytest.fixture
def bundle():
    torch.manual_seed(0)
    return Bundle(
        tokenizer=Tokenizer(TOKENIZER).eval(),
        world_model=WorldModel(SHAPE).eval(),
        controls=ControlEncoder(CONTROLS),
    )


def test_a_saved_bundle_imagines_the_same(bundle, tmp_path):
    bundle.save_pretrained(tmp_path)
    loaded = Bundle.from_pretrained(tmp_path)
    assert loaded.controls == ControlEncoder(CONTROLS)
    frames = torch.randint(256, (1, 32, 32, 3), dtype=torch.uint8)
    controls = CONTROLS.normalize(torch.randn(1, 3, SIZE))
    found = []
    for one in (bundle, loaded):
        codes = one.tokenizer.encode_rgb(frames).unsqueeze(1)
        (first, _) = imagine(one.world_model, rgb=codes, depth=codes, controls=controls)
        found.append(one.tokenizer.decode_rgb(first.rgb_codes))
    assert torch.equal(*found)


def test_the_card_says_what_is_inside_and_is_not_overwritten(bundle, tmp_path):
    bundle.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "delta, 20 Hz: x (m), gripper (1)" in card
    assert "| Frames a second | 5 |" in card
    (tmp_path / "README.md").write_text("my own words")
    bundle.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own words"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": (3, 3)}, "9 tokens a view"),
        ({"code_bits": 16}, "16 code bits"),
        ({"control_size": 3}, "3 control numbers"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(bundle, change, message):
    other = WorldModel(replace(SHAPE, **change))
    with pytest.raises(ValueError, match=message):
        replace(bundle, world_model=other)


def test_a_missing_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="a folder here nor a hub repository"):
        Bundle.from_pretrained(tmp_path / "nowhere")
