"""A tiny compact policy, observations for it, and clients that speak the protocol by themselves."""

from dataclasses import replace

import msgpack
import numpy as np
import torch
from websockets.sync.client import connect

from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.protocol import PolicyInput
from roboscape.policies.remote.link import Patience
from tests.policies.tiny_compact import TINY

IMPATIENT = Patience(answer_s=20.0, server_s=0.3, first_wait_s=0.05)
PATIENT = Patience(answer_s=20.0, server_s=20.0, first_wait_s=0.05)


def tiny_policy(*, frames=2):
    torch.manual_seed(0)
    config = replace(TINY, frames=frames)
    return CompactPolicy(CompactPolicyNetwork(config).eval(), device="cpu")


def shown(batch, *, seed=0, frames=2):
    random = np.random.default_rng(seed)
    return PolicyInput(
        rgb={
            name: random.integers(0, 255, (batch, frames, 16, 16, 3), dtype=np.uint8)
            for name in ("front", "hand")
        },
        depth_m={},
        state=random.normal(size=(batch, frames, 2)).astype(np.float32),
    )


def only(observed, world):
    return PolicyInput(
        rgb={name: images[[world]] for name, images in observed.rgb.items()},
        depth_m={},
        state=observed.state[[world]],
    )


def acted_alone(policy, observed, worlds):
    """The chunks of worlds that are asked one at a time, as a server is."""
    return np.concatenate(
        [policy.act(only(observed, row), worlds=np.array([w])) for row, w in enumerate(worlds)]
    )


class OtherClient:
    """A client that shares no code with ours: only msgpack and websockets."""

    def __init__(self, address, **options):
        self.socket = connect(address, compression=None, max_size=None, **options)
        self.metadata = msgpack.unpackb(self.socket.recv(timeout=20))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, observation):
        """The actions, or the text of an error."""
        encoded = {
            key: {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
            if isinstance(value, np.ndarray)
            else value
            for key, value in observation.items()
        }
        return self.say(msgpack.packb(encoded))

    def say(self, message):
        self.socket.send(message)
        answer = self.socket.recv(timeout=20)
        if isinstance(answer, str):
            return answer
        found = msgpack.unpackb(answer)
        assert found["server_timing"]["infer_ms"] >= 0
        actions = found["actions"]
        return np.frombuffer(actions[b"data"], actions[b"dtype"]).reshape(actions[b"shape"])


def message_of(observed, world=0, **more):
    """The observation of one world under openpi's keys."""
    return {
        "observation/image": observed.rgb["front"][world],
        "observation/wrist_image": observed.rgb["hand"][world],
        "observation/state": observed.state[world],
        "prompt": "lift",
        **more,
    }
