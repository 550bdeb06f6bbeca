"""A compact policy that reads tokens: the same in true and in imagined worlds, where no picture is
drawn for it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.compact.samples import Batch
from roboscape.policies.compact.tokens import encoded, tokens_read
from roboscape.policies.compact.train import make_step, run
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import PolicyInput
from roboscape.policies.remote.description import description_of
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart
from roboscape.tokenizer.codes import MISSING
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.tokens.weights import encoder_sha256, loaded_encoder_sha256
from roboscape.training.learner import Microbatch
from roboscape.training.optimizer import OptimizerConfig
from tests.policies.tiny_compact import TINY

SIDE, CAMERA = 64, "front"


@pytest.fixture
def policy(tiny_bundle):
    """Acts on random weights."""
    torch.manual_seed(0)
    convention = tiny_bundle.controls.convention
    config = replace(
        TINY,
        convention=convention,
        cameras=(CAMERA,),
        image_size=SIDE,
        state_names=(),
        frame_hz=convention.action_hz / 2,
        chunk=8,
        executed=4,
        tokens=tokens_read(tiny_bundle.tokenizer, image_size=SIDE),
    )
    network = CompactPolicyNetwork(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return CompactPolicy(network, tokenizer=tiny_bundle.tokenizer, device="cpu")


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return random.integers(0, 255, (3, 2, SIDE, SIDE, 3), dtype=np.uint8)


def shown(*, rgb=None, tokens=None):
    count = len(tokens if rgb is None else rgb)
    return PolicyInput(
        rgb={} if rgb is None else {CAMERA: rgb},
        depth_m={},
        tokens={} if tokens is None else {CAMERA: tokens},
        state=np.zeros((count, 2, 0), np.float32),
    )


def test_pixels_and_their_tokens_give_the_same_chunk(policy, tiny_bundle, frames):
    chunks = []
    for seen in (shown(rgb=frames), shown(tokens=encoded(tiny_bundle.tokenizer, frames))):
        policy.reset([1, 2, 3])
        chunks.append(policy.act(seen, worlds=np.arange(3)))
    np.testing.assert_allclose(*chunks, atol=1e-6)


@pytest.mark.parametrize("frame", [0, 1])
def test_every_frames_tokens_change_the_chunk(policy, tiny_bundle, frames, frame):
    tokens = encoded(tiny_bundle.tokenizer, frames)
    other = tokens.copy()
    other[:, frame, 0, 0] ^= 0b1111
    chunks = []
    for seen in (tokens, other):
        policy.reset([1, 2, 3])
        chunks.append(policy.act(shown(tokens=seen), worlds=np.arange(3)))
    assert (np.abs(chunks[0] - chunks[1]).max(axis=(1, 2)) > 1e-4).all()


@pytest.fixture
def simulator(tiny_bundle):
    return LearnedSimulator(tiny_bundle, batch=2, cameras=(CAMERA,))


def starts(dataset):
    return [EpisodeStart(dataset=dataset, episode=episode) for episode in (0, 1)]


def test_an_imagined_world_shows_tokens_and_draws_no_picture(policy, simulator, lift_dataset):
    simulator.decode = "none"
    seen = []
    act = policy.act
    policy.act = lambda observed, worlds: (seen.append(observed), act(observed, worlds=worlds))[1]
    driver = PolicyDriver(policy, simulator.spec)
    driver.reset(simulator.reset(starts(lift_dataset)), seeds=[1, 2])
    for _ in range(3):
        driver.observe(simulator.step(driver.actions()))
    assert [one.rgb for one in seen] == [{}, {}]
    first = lift_dataset.frames(0, CAMERA, slice(0, 1))
    expected = encoded(policy._tokenizer, first)[0]
    np.testing.assert_array_equal(seen[0].tokens[CAMERA][0], [expected, expected])
    newest = simulator.observe().tokens[CAMERA][:, 0]
    driver.observe(simulator.observe())
    np.testing.assert_array_equal(driver._observed(np.arange(2)).tokens[CAMERA][:, 1], newest)


def test_a_world_that_begins_anew_shows_its_own_first_tokens(policy, simulator, lift_dataset):
    driver = PolicyDriver(policy, simulator.spec)
    driver.reset(simulator.reset(starts(lift_dataset)), seeds=[1, 2])
    driver.observe(simulator.step(driver.actions()))
    before = driver._observed(np.arange(2)).tokens[CAMERA]
    where = np.array([True, False])
    again = simulator.reset(starts(lift_dataset)[:1], where=where)
    driver.reset(again, seeds=[3], where=where)
    after = driver._observed(np.arange(2)).tokens[CAMERA]
    np.testing.assert_array_equal(after[0], [again.tokens[CAMERA][0, 0]] * 2)
    np.testing.assert_array_equal(after[1], before[1])


def test_other_tokens_than_its_own_are_not_shown_to_it(policy, simulator, lift_dataset):
    other = replace(simulator.spec, encoder_sha256="ab" * 32)
    driver = PolicyDriver(policy, other)
    driver.reset(simulator.reset(starts(lift_dataset)), seeds=[1, 2])
    observed = driver._observed(np.arange(2))
    assert observed.tokens == {} and observed.rgb[CAMERA].shape == (2, 2, SIDE, SIDE, 3)


def test_a_policy_behind_a_server_is_sent_pictures(policy):
    assert description_of(policy.spec).spec == replace(policy.spec, encoder_sha256="")


def test_the_hash_of_an_encoder_is_that_of_its_file(tiny_bundle, tmp_path):
    tiny_bundle.tokenizer.save_pretrained(tmp_path)
    assert loaded_encoder_sha256(tiny_bundle.tokenizer) == encoder_sha256(tmp_path)


@pytest.fixture
def training(training, tiny_bundle, tmp_path):
    """The same, of a policy that reads tokens."""
    tiny_bundle.tokenizer.save_pretrained(tmp_path / "tokenizer")
    return replace(training, tokenizer=str(tmp_path / "tokenizer"))


def test_a_trained_policy_and_its_checkpoints_bring_their_tokenizer(training, frames, tmp_path):
    run(training)
    shutil.rmtree(training.tokenizer)
    chunks = []
    for name in (str(training.output), f"{training.output}@4"):
        found = open_policy(name, device="cpu")
        found.reset([1, 2, 3])
        states = np.zeros((3, 2, len(found.spec.state_names)), np.float32)
        seen = replace(shown(rgb=frames), state=states)
        chunks.append(found.act(seen, worlds=np.arange(3)))
        assert found.spec.encoder_sha256
    np.testing.assert_array_equal(*chunks)


def other_tokenizer(tokenizer):
    changed = Tokenizer(tokenizer.config)
    changed.load_state_dict(tokenizer.state_dict())
    with torch.no_grad():
        next(changed.encoder.parameters()).add_(1)
    return changed


def test_another_tokenizer_in_its_place_is_refused(training, tiny_bundle):
    run(training)
    other = other_tokenizer(tiny_bundle.tokenizer)
    other.save_pretrained(training.output / "policy" / "tokenizer")
    with pytest.raises(UserError, match="reads tokens of encoder"):
        open_policy(str(training.output))
    other.save_pretrained(training.output.parent / "tokenizer")
    with pytest.raises(UserError, match="reads tokens of encoder"):
        run(training)


@pytest.fixture
def reader(training, tiny_bundle):
    """Random; of the tokens that the training reads."""
    torch.manual_seed(3)
    model = tiny_bundle.world_model.config
    config = StateReaderConfig(
        state_names=("cube_z",),
        grid=model.frame_grid,
        code_bits=model.code_bits,
        encoder_sha256=loaded_encoder_sha256(tiny_bundle.tokenizer),
        width=12,
        keypoints=5,
    )
    found = StateReader(config).eval()
    found.save_pretrained(training.output.parent / "reader")
    return found


def test_features_begin_as_those_of_a_reader_that_is_shown_no_depth(
    training, reader, tiny_bundle, frames
):
    config = replace(training, reader=str(training.output.parent / "reader"))
    still = OptimizerConfig(kind="adamw", learning_rate=1e-12)
    network = run(replace(config, optimizer=still))
    assert (network.config.channels, network.config.keypoints) == (12, 5)
    tokens = torch.from_numpy(encoded(tiny_bundle.tokenizer, frames[:, 0]))
    (eye,) = network.eyes
    found = eye(tokens, torch.zeros(len(tokens), 2))
    nothing = torch.full((len(tokens), 16), MISSING)
    expected = reader.features(tokens.flatten(1), nothing)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert open_policy(f"{training.output}@4").spec.encoder_sha256


def test_a_reader_of_other_tokens_is_refused(training, reader):
    folder = training.output.parent / "reader"
    other = replace(reader.config, encoder_sha256="ab" * 32)
    StateReader(other).save_pretrained(folder)
    with pytest.raises(UserError, match="tokens of encoder abababababab"):
        run(replace(training, reader=str(folder)))
    with pytest.raises(UserError, match="give the --tokenizer"):
        replace(training, tokenizer="", reader=str(folder))


def test_a_tokenizer_of_another_size_is_refused(tiny_bundle):
    with pytest.raises(UserError, match="takes images of 64 pixels, and these have 32"):
        tokens_read(tiny_bundle.tokenizer, image_size=32)


def test_a_network_of_tokens_without_a_tokenizer_is_refused(policy):
    with pytest.raises(UserError, match="give it the tokenizer"):
        CompactPolicy(policy._network, device="cpu")


def test_tokens_are_hidden_in_training_and_otherwise_each_step(training, policy, monkeypatch):
    seen = []
    network = policy._network
    monkeypatch.setattr(
        network,
        "encode",
        lambda images, state, colours: (seen.append(images), torch.zeros(len(images), 16))[1],
    )
    batch = Batch(
        seed=1,
        images=torch.ones(64, 2, 1, 4, 4, dtype=torch.int32),
        state=torch.zeros(64, 2, 0),
        actions=torch.zeros(64, 8, len(network.config.convention.names)),
    )
    step = make_step(network, config=replace(training, hidden_tokens=0.25), autocast=False)
    for seed in (1, 1, 2):
        step(Microbatch(content=replace(batch, seed=seed), counts={"samples": 64.0}))
    hidden = [one == MISSING for one in seen]
    assert hidden[0].float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(hidden[0], hidden[1]) and not torch.equal(hidden[0], hidden[2])
    assert (batch.images == 1).all(), "the stored tokens stay as they are"
