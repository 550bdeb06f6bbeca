"""A tiny, untrained pi0 behind openpi's protocol: its server knows nothing of roboscape."""

import contextlib

import numpy as np
import pytest
import torch

from roboscape.policies.protocol import PolicyInput
from roboscape.policies.remote.client import RemotePolicy
from roboscape.policies.remote.description import OPENPI_LIBERO, observation_of
from roboscape.policies.remote.server import PolicyServer, served

transformers = pytest.importorskip("transformers", reason="pi0 comes with transformers")
if not hasattr(transformers, "PI0ForConditionalGeneration"):
    pytest.skip("this transformers has no pi0", allow_module_level=True)

SIDE, PATCH, IMAGE_TOKEN, CHUNK = 28, 14, 250, 10


def tiny_pi0():
    torch.manual_seed(0)
    transformer = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    config = transformers.PI0Config(
        vlm_config={
            "model_type": "paligemma",
            "text_config": {"model_type": "gemma", "vocab_size": 256, **transformer},
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "patch_size": PATCH,
                "image_size": SIDE,
                "vision_use_head": False,
            },
            "projection_dim": 16,
            "image_token_id": IMAGE_TOKEN,
        },
        dit_config={"model_type": "gemma", "vocab_size": 256, **transformer},
        chunk_size=CHUNK,
        num_inference_steps=2,
    )
    return transformers.PI0ForConditionalGeneration(config).eval()


def answers(model):
    """openpi's `infer`: LIBERO's observation to actions of 7 dimensions."""
    drawn = []

    def infer(observation):
        images = [observation["observation/image"], observation["observation/wrist_image"]]
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        pixels = torch.nn.functional.interpolate(pixels, (SIDE, SIDE))
        words = [1 + ord(letter) % 200 for letter in observation["prompt"]]
        ids = torch.tensor([[IMAGE_TOKEN] * (2 * (SIDE // PATCH) ** 2) + words])
        state = torch.zeros(1, 32)
        state[0, :8] = torch.from_numpy(observation["observation/state"])
        drawn.append(None)
        noise = torch.randn(1, CHUNK, 32, generator=torch.Generator().manual_seed(len(drawn)))
        actions = model.sample_actions(
            state=state,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels[None],
            pixel_attention_mask=torch.ones(1, 2, dtype=torch.bool),
            noise=noise,
        )
        return {"actions": actions[0, :, :7].numpy()}

    return infer


def lift_like(seed):
    random = np.random.default_rng(seed)
    state = random.normal(size=(1, 1, len(OPENPI_LIBERO.spec.state_names))).astype(np.float32)
    images = {
        name: random.integers(0, 255, (1, 1, 128, 128, 3), dtype=np.uint8)
        for name in ("agentview", "wrist")
    }
    return PolicyInput(rgb=images, depth_m={}, state=state, task=f"lift cube {seed}")


def test_a_tiny_pi0_acts_the_same_behind_the_protocol():
    seen = [lift_like(seed) for seed in range(3)]
    direct = answers(tiny_pi0())
    expected = [direct(observation_of(OPENPI_LIBERO, one, 0))["actions"][:8] for one in seen]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3

    @contextlib.contextmanager
    def connect():
        yield answers(tiny_pi0())

    with served(PolicyServer(connect, metadata={})) as address:
        remote = RemotePolicy(address)
        remote.reset([0])
        found = [remote.act(one, worlds=np.array([0]))[0] for one in seen]
        remote.close()
    np.testing.assert_array_equal(found, expected)
