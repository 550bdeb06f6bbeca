"""The judge by tokens: a cube that is read higher than in its first frame is lifted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.judge.backends import JudgeChoice, open_judge
from roboscape.judge.protocol import Judge
from roboscape.judge.tokens import RISE_M, TokenJudge
from roboscape.policies.worlds import WorldChoice, decode_what_is_seen, open_world
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart, Observation
from roboscape.simulators.success import TrueSuccess
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.tokens.weights import loaded_encoder_sha256
from tests.policies.remembering_policy import RememberingPolicy

BOTH = np.ones(2, bool)


@pytest.fixture
def reader(tiny_bundle):
    """Random, and so sensitive that other tokens mean other heights."""
    torch.manual_seed(0)
    model = tiny_bundle.world_model.config
    config = StateReaderConfig(
        state_names=("cube_x", "cube_y", "cube_z"),
        grid=model.frame_grid,
        code_bits=model.code_bits,
        encoder_sha256=loaded_encoder_sha256(tiny_bundle.tokenizer),
        width=8,
    )
    found = StateReader(config).eval().requires_grad_(requires_grad=False)
    found.get_buffer("state_std").fill_(10)
    return found


@pytest.fixture
def worlds(tiny_bundle):
    return LearnedSimulator(tiny_bundle, batch=2, cameras=("front",), decode="none")


def seen(*codes):
    """Two worlds of one token everywhere."""
    tokens = np.stack([np.full((2, 4, 4), code, np.int32) for code in codes])
    return Observation(
        rgb={}, depth_m={}, state=np.zeros((len(codes), 0), np.float32), tokens={"front": tokens}
    )


def test_success_is_a_cube_that_has_risen_from_its_first_place(reader, worlds):
    judge = TokenJudge(reader, spec=worlds.spec)
    assert isinstance(judge, Judge)
    heights = {code: judge.heights_m(seen(code))[0] for code in range(40)}
    low, high = min(heights, key=heights.get), max(heights, key=heights.get)
    assert heights[high] - heights[low] > RISE_M
    judge.reset(seen(low, high), where=BOTH)
    assert judge(seen(high, high)).tolist() == [True, False]
    assert judge(seen(low, low)).tolist() == [False, False]
    # A world that begins anew has another first height, the other one keeps its own.
    judge.reset(seen(high, low), where=np.array([True, False]))
    assert judge(seen(high, high)).tolist() == [False, False]
    assert (judge.counts.frames, judge.counts.success, judge.counts.unknown) == (6, 1, 0)


def test_heights_are_what_the_reader_reads_of_rgb_and_depth(reader, worlds, lift_dataset):
    judge = TokenJudge(reader, spec=worlds.spec)
    found = worlds.reset([EpisodeStart(dataset=lift_dataset, episode=i) for i in (0, 1)])
    rgb, depth = worlds.tokens
    np.testing.assert_allclose(judge.heights_m(found), reader.read(rgb, depth)[:, 2], rtol=1e-6)
    assert not np.allclose(judge.heights_m(found), reader.read(rgb)[:, 2])


def test_worlds_without_tokens_or_with_others_are_refused(reader, worlds):
    true = replace(worlds.spec, encoder_sha256="")
    with pytest.raises(UserError, match="another encoder"):
        TokenJudge(reader, spec=true)
    with pytest.raises(UserError, match="a true simulator has no tokens"):
        open_judge(JudgeChoice(kind="tokens"), spec=true)
    judge = TokenJudge(reader, spec=worlds.spec)
    with pytest.raises(UserError, match="holds none of front"):
        judge.reset(replace(seen(1, 2), tokens={}), where=BOTH)
    with pytest.raises(UserError, match="never reset"):
        judge(seen(1, 2))
    judge.reset(seen(1, 2), where=np.array([True, False]))
    with pytest.raises(UserError, match="never reset"):
        judge(seen(1, 2))
    nowhere = StateReader(replace(reader.config, state_names=("cube_x",)))
    with pytest.raises(UserError, match="needs an object reader of cube_z"):
        TokenJudge(nowhere, spec=worlds.spec)


def test_nothing_is_decoded_where_policy_and_judge_read_tokens_alone(reader, worlds):
    policy = RememberingPolicy()
    pixels, tokens = policy.spec, replace(policy.spec, encoder_sha256=worlds.spec.encoder_sha256)
    judge = TokenJudge(reader, spec=worlds.spec)
    for spec, success, expected in (
        (tokens, judge, "none"),
        (pixels, judge, "all"),
        (tokens, TrueSuccess(), "all"),
        (replace(tokens, depth_cameras=("front",)), judge, "all"),
        (replace(tokens, encoder_sha256="ab" * 32), judge, "all"),
    ):
        worlds.decode = "all"
        decode_what_is_seen(worlds, spec, success)
        assert worlds.decode == expected


def test_the_bundled_worlds_are_judged_by_their_own_reader():
    choice = WorldChoice(bundle="lift", batch=1, judge=JudgeChoice(kind="tokens"), device="cpu")
    simulator, success = open_world(choice)
    assert isinstance(success, TokenJudge)
    assert success._reader is simulator.bundle.object_reader
    with pytest.raises(UserError, match="no rule says"):
        open_world(replace(choice, bundle="metaworld", task="metaworld/drawer-open"))
