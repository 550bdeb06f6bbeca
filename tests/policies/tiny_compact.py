"""The shape of a compact policy that is small enough for tests."""

from roboscape.policies.compact.config import CompactPolicyConfig
from tests.simulators.counting_simulator import SPEC

TINY = CompactPolicyConfig(
    convention=SPEC.action,
    cameras=("front", "hand"),
    image_size=16,
    state_names=("x", "y"),
    channels=8,
    keypoints=4,
    condition_width=16,
    unet_channels=(8, 16),
    chunk=8,
    executed=4,
)
