from dataclasses import asdict, replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policies.lerobot.serve import Episodes, lerobot_server, main, read_description
from roboscape.policies.protocol import PolicyInput, PolicySpec
from roboscape.policies.remote.client import RemotePolicy
from roboscape.policies.remote.description import description_of
from roboscape.policies.remote.server import served
from tests.simulators.counting_simulator import SPEC

POLICY = PolicySpec(
    cameras=("front", "hand"),
    image_size=16,
    state_names=("x", "y"),
    frame_hz=15.0,
    action=SPEC.action,
    chunk=6,
    executed=6,
    reads_task=True,
)
DESCRIPTION = description_of(POLICY)


def shown(batch=2):
    random = np.random.default_rng(0)
    return PolicyInput(
        rgb={
            name: random.integers(0, 255, (batch, 1, 16, 16, 3), dtype=np.uint8)
            for name in POLICY.cameras
        },
        depth_m={},
        state=random.normal(size=(batch, 1, 2)).astype(np.float32),
        task="count",
    )


class Chunks:
    """Remembers what it was shown; its actions are its seed's random numbers."""

    def __init__(self):
        self.seen = []

    def __call__(self, content, seed):
        self.seen.append((content, seed))
        return np.random.default_rng(seed).random((6, 2), np.float32)


def test_a_policy_of_lerobots_is_shown_its_own_names_and_ranges():
    chunks, seen = Chunks(), shown()
    with served(lerobot_server(asdict(DESCRIPTION), chunks)) as address:
        remote = RemotePolicy(address)
        assert remote.spec == POLICY
        remote.reset([3, 3])
        first = remote.act(seen, worlds=np.arange(2))
        second = remote.act(seen, worlds=np.arange(2))
        remote.reset([3, 4])
        again = remote.act(seen, worlds=np.arange(2))
        remote.close()
    content, _ = chunks.seen[1]
    assert set(content) == {
        "observation.images.front",
        "observation.images.hand",
        "observation.state",
        "task",
    }
    image = seen.rgb["front"][1, 0].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(content["observation.images.front"], image)
    np.testing.assert_array_equal(content["observation.state"], seen.state[1, 0])
    assert content["task"] == "count"
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(again[0], first[0])
    assert np.abs(second[0] - first[0]).max() > 0.01
    assert np.abs(again[1] - first[1]).max() > 0.01


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"observation/image": np.zeros((8, 8, 3), np.uint8)}, r"\(16, 16, 3\)"),
        ({"observation/image": np.zeros((16, 16, 3))}, "got float64"),
        ({"observation/state": None}, "expected an array"),
        ({"prompt": 3}, "expected a text"),
        ({"roboscape/seed": True}, "whole number"),
    ],
)
def test_a_wrong_observation_is_refused(change, reason):
    right = {
        "observation/image": np.zeros((16, 16, 3), np.uint8),
        "observation/wrist_image": np.zeros((16, 16, 3), np.uint8),
        "observation/state": np.zeros(2, np.float32),
    }
    answer = Episodes(asdict(DESCRIPTION), Chunks())
    assert answer(right)["actions"].shape == (6, 2)
    with pytest.raises(UserError, match=reason):
        answer(right | change)


def test_a_checkpoint_without_a_description_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected policy_spec\.json"):
        read_description(tmp_path)
    with pytest.raises(SystemExit, match=r"policy_spec\.json"):
        main([str(tmp_path)])


def test_a_state_of_another_number_type_is_refused():
    answer = Episodes(asdict(replace(DESCRIPTION)), Chunks())
    with pytest.raises(UserError, match="got int64"):
        answer(
            {
                "observation/image": np.zeros((16, 16, 3), np.uint8),
                "observation/wrist_image": np.zeros((16, 16, 3), np.uint8),
                "observation/state": np.zeros(2, np.int64),
            }
        )
