import contextlib
import json
import threading
import time
from urllib.parse import urlparse

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.episodes import EpisodePlan, run_episodes
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import PolicyInput, check_policy_fits
from roboscape.policies.remote.client import RemotePolicy
from roboscape.policies.remote.description import OPENPI_LIBERO, observation_of, read_description
from roboscape.policies.remote.serve import policy_server
from roboscape.policies.remote.server import PolicyServer, ServerLimits, served
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.success import TrueSuccess
from tests.policies.remembering_policy import RememberingPolicy
from tests.policies.remote.tiny import IMPATIENT, PATIENT, acted_alone, only, shown, tiny_policy
from tests.simulators.counting_simulator import SPEC, CountingSimulator


def test_a_remote_policy_acts_as_the_local_one_bit_for_bit():
    local, worlds = tiny_policy(), np.arange(3)
    with served(policy_server(tiny_policy())) as address:
        remote = open_policy(address)
        assert remote.spec == local.spec
        for policy in (local, remote):
            policy.reset([5, 6, 7])
        for step in range(3):
            seen = shown(3, seed=step)
            np.testing.assert_array_equal(
                remote.act(seen, worlds=worlds), acted_alone(local, seen, worlds)
            )
        where = np.array([False, True, False])
        for policy in (local, remote):
            policy.reset([9], where=where)
        seen = shown(2, seed=9)
        some = np.array([2, 1])
        np.testing.assert_array_equal(remote.act(seen, worlds=some), acted_alone(local, seen, some))
        remote.close()


def test_episodes_end_alike_with_a_remote_and_a_local_policy():
    starts = [SeedStart(seed=seed) for seed in (2, 3, 1, 4, 9)]
    plan = EpisodePlan(starts=starts, seeds=[11, 12, 13, 14, 15], max_frames=6)

    def outcomes(policy):
        return run_episodes(CountingSimulator(2), policy, plan, success=TrueSuccess())

    local = outcomes(RememberingPolicy(chunk=6, executed=3))
    with served(policy_server(RememberingPolicy(chunk=6, executed=3))) as address:
        remote = outcomes(RemotePolicy(address))
    for one, other in zip(local, remote, strict=True):
        assert (one.success, one.frames) == (other.success, other.frames)
        np.testing.assert_array_equal(one.actions, other.actions)


def test_a_server_that_is_restarted_mid_episode_goes_on_with_the_same_noise():
    local = tiny_policy()
    local.reset([5])
    seen = [shown(1, seed=step) for step in range(4)]
    expected = [acted_alone(local, one, [0]) for one in seen]
    running = contextlib.ExitStack()
    address = running.enter_context(served(policy_server(tiny_policy())))
    port = urlparse(address).port
    remote = RemotePolicy(address, patience=PATIENT)
    remote.reset([5])
    found = [remote.act(one, worlds=np.array([0])) for one in seen[:2]]
    running.close()
    again = contextlib.ExitStack()

    def restart():
        time.sleep(0.3)
        again.enter_context(served(policy_server(tiny_policy()), port=port))

    thread = threading.Thread(target=restart)
    thread.start()
    found += [remote.act(one, worlds=np.array([0])) for one in seen[2:]]
    thread.join()
    again.close()
    np.testing.assert_array_equal(found, expected)


def test_a_server_that_stays_away_ends_the_run_with_what_to_do():
    with served(policy_server(tiny_policy())) as address:
        remote = RemotePolicy(address, patience=IMPATIENT)
        remote.reset([5])
    with pytest.raises(UserError, match=r"no policy server answers .* start it \(again\)"):
        remote.act(shown(1), worlds=np.array([0]))


def test_another_policy_at_the_same_address_is_refused():
    running = contextlib.ExitStack()
    address = running.enter_context(served(policy_server(tiny_policy())))
    remote = RemotePolicy(address, patience=PATIENT)
    remote.reset([5])
    remote.act(shown(1), worlds=np.array([0]))
    running.close()
    other = policy_server(tiny_policy(frames=1))
    restarted = served(other, port=urlparse(address).port)
    with restarted, pytest.raises(UserError, match="another policy is served"):
        remote.act(shown(1), worlds=np.array([0]))


def test_what_the_server_refuses_is_reported_and_not_tried_again():
    with served(policy_server(tiny_policy())) as address:
        remote = RemotePolicy(address, patience=PATIENT)
        remote.reset([5])
        with pytest.raises(UserError, match=r"could not answer: .*2 frames of 16x16x3"):
            remote.act(shown(1, frames=1), worlds=np.array([0]))


def test_an_observation_that_is_too_large_is_reported():
    limits = ServerLimits(message_bytes=1000)
    with served(policy_server(tiny_policy(), limits=limits)) as address:
        remote = RemotePolicy(address, patience=PATIENT)
        remote.reset([5])
        with pytest.raises(UserError, match="too large for the server"):
            remote.act(shown(1), worlds=np.array([0]))


def test_actions_of_another_meaning_are_refused_before_any_is_asked():
    with served(policy_server(RememberingPolicy(action_hz=7.0))) as address:
        remote = RemotePolicy(address)
    with pytest.raises(UserError, match="gives 7 actions a second"):
        PolicyDriver(remote, SPEC)


def foreign(answer, *, seen=None):
    """A server that is none of ours and describes nothing."""

    @contextlib.contextmanager
    def connect():
        def reply(observation):
            if seen is not None:
                seen.append(observation)
            return answer(observation)

        yield reply

    return served(PolicyServer(connect, metadata={"reset_pose": [0, 0]}))


def lift_like(*, batch=1):
    names = OPENPI_LIBERO.spec.state_names
    random = np.random.default_rng(0)
    state = random.normal(size=(batch, 1, len(names))).astype(np.float32)
    state[..., 3:7] /= np.linalg.norm(state[..., 3:7], axis=-1, keepdims=True)
    images = {
        name: random.integers(0, 255, (batch, 1, 128, 128, 3), dtype=np.uint8)
        for name in ("agentview", "wrist")
    }
    return PolicyInput(rgb=images, depth_m={}, state=state, task="lift the cube")


def test_an_openpi_server_is_shown_liberos_observations():
    seen = []
    horizon = np.arange(70.0).reshape(10, 7)
    with foreign(lambda _: {"actions": horizon, "policy_timing": {"ms": 1}}, seen=seen) as address:
        remote = RemotePolicy(address)
        remote.reset([1])
        observed = lift_like()
        chunk = remote.act(observed, worlds=np.array([0]))
    np.testing.assert_array_equal(chunk[0], horizon[:8])
    (observation,) = seen
    assert {key: value.shape for key, value in observation.items() if key != "prompt"} == {
        "observation/image": (224, 224, 3),
        "observation/wrist_image": (224, 224, 3),
        "observation/state": (8,),
    }
    assert observation["prompt"] == "lift the cube"
    state = observed.state[0, 0]
    np.testing.assert_array_equal(
        observation["observation/state"][[0, 1, 2, 6, 7]], state[[0, 1, 2, 7, 8]]
    )
    turned = Rotation.from_rotvec(observation["observation/state"][3:6])
    assert (turned * Rotation.from_quat(state[3:7]).inv()).magnitude() < 1e-5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"actions": np.zeros((10, 32))}, r"expected actions of shape \(8 or more, 7\)"),
        ({"actions": np.zeros((4, 7))}, r"got \(4, 7\)"),
        ({"actions": np.full((10, 7), np.nan)}, "not finite"),
        ({"action": np.zeros((10, 7))}, "the array `actions`"),
    ],
)
def test_answers_that_are_not_the_described_actions_are_refused(answer, reason):
    with foreign(lambda _: answer) as address:
        remote = RemotePolicy(address)
        remote.reset([1])
        with pytest.raises(UserError, match=reason):
            remote.act(lift_like(), worlds=np.array([0]))


def test_a_json_file_names_other_keys_and_actions(tmp_path):
    file = tmp_path / "droid.json"
    content = {
        "spec": {"cameras": ["front"], "state_names": ["age"], "chunk": 6, "executed": 3},
        "image_keys": {"front": "observation/exterior_image_1_left"},
        "state_key": "observation/joint_position",
        "state_rotation": "recorded",
        "sent_image_size": 0,
        "prompt": "count",
    }
    content["spec"]["action"] = {**vars(SPEC.action), "action_hz": 15}
    file.write_text(json.dumps(content))
    seen = []
    with foreign(lambda _: {"actions": np.ones((6, 2))}, seen=seen) as address:
        remote = open_policy(address, described=file)
        check_policy_fits(remote.spec, SPEC)
        plan = EpisodePlan(starts=[SeedStart(seed=2)], seeds=[0], max_frames=4)
        (outcome,) = run_episodes(CountingSimulator(1), remote, plan, success=TrueSuccess())
    assert outcome.success
    assert (outcome.actions == 1).all()
    assert set(seen[0]) == {
        "observation/exterior_image_1_left",
        "observation/joint_position",
        "prompt",
    }
    assert seen[0]["observation/joint_position"].tolist() == [0]
    assert seen[0]["prompt"] == "count"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"image_key": {}}, "not a valid ServerDescription"),
        ({"spec": {"cameras": ["left"]}}, "expected image_keys of the cameras left"),
        ([], "to hold a map"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, content, reason):
    file = tmp_path / "server.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        read_description(file)


def test_a_server_that_describes_itself_needs_no_file(tmp_path):
    (tmp_path / "server.json").write_text("{}")
    running = served(policy_server(tiny_policy()))
    with running as address, pytest.raises(UserError, match="describes itself"):
        RemotePolicy(address, described=tmp_path / "server.json")


def test_a_state_without_a_quaternion_cannot_be_turned():
    observed = lift_like()
    description = OPENPI_LIBERO
    spec = description.spec
    wrong = type(description)(
        **{**vars(description), "spec": type(spec)(**{**vars(spec), "state_names": ("a", "b")})}
    )
    with pytest.raises(UserError, match="to hold one quaternion"):
        observation_of(wrong, observed, 0)


def test_an_address_that_is_none_is_refused():
    with pytest.raises(UserError, match="expected an address"):
        RemotePolicy("ws://", patience=IMPATIENT)


def test_one_world_is_shown_its_own_observation():
    seen = shown(3)
    with served(policy_server(tiny_policy())) as address:
        remote = RemotePolicy(address)
        chunks = []
        for order in ([0, 1, 2], [2, 0, 1]):
            remote.reset([4, 4, 4])
            parts = [only(seen, world) for world in order]
            together = PolicyInput(
                rgb={name: np.concatenate([part.rgb[name] for part in parts]) for name in seen.rgb},
                depth_m={},
                state=np.concatenate([part.state for part in parts]),
            )
            chunks.append(remote.act(together, worlds=np.arange(3)))
        remote.close()
    np.testing.assert_array_equal(chunks[0][[2, 0, 1]], chunks[1])
