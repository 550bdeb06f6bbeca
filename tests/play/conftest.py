import pytest
import torch

pytest.importorskip("starlette", reason="the extra `play` is not installed")

from roboscape.policies.compact.config import CompactPolicyConfig
from roboscape.policies.compact.model import CompactPolicyNetwork
from tests.conftest import CONVENTION
from tests.play.pages import opened

TINY = CompactPolicyConfig(
    convention=CONVENTION,
    cameras=("front",),
    image_size=64,
    state_names=(),
    frame_hz=10.0,
    channels=8,
    keypoints=4,
    condition_width=16,
    unet_channels=(8, 16),
    chunk=8,
    executed=4,
)


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory):
    """A policy with random weights, of the tiny worlds' actions and images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    CompactPolicyNetwork(TINY).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def stage(tiny_bundle, lift_dataset, tmp_path):
    """No true simulator; three recorded episodes to start from."""
    with opened(tiny_bundle, lift_dataset, tmp_path) as found:
        yield found
