"""The learned simulator: what it shows, and the laws of worlds behind the protocol."""

import gc
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from roboscape.controls.encoder import ControlEncoder, unscaled
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.sampling import Sampling
from roboscape.rollout.videos import Videos, decode_videos, encode_videos, first_objects
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart, FrameStart, SeedStart, Simulator, fork
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.world_model.cache import Cache
from roboscape.world_model.model import WorldModel
from tests.whole_rollout import whole_rollout

STRIDE, SIDE, CAMERA = 2, 64, "front"
WARM = Sampling(temperature=1.0)


def arm_model(convention, *, objects=()):
    torch.manual_seed(0)
    names = ("eef_x", "eef_y")
    config = ProprioceptionConfig(
        convention=convention,
        state_names=names,
        object_names=objects,
        width=8,
        second_order=bool(objects),
    )
    model = Proprioception(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval().requires_grad_(requires_grad=False)


def object_reader(model):
    torch.manual_seed(1)
    config = StateReaderConfig(
        state_names=("cube_x",), grid=model.frame_grid, code_bits=model.code_bits, width=8
    )
    return StateReader(config).eval().requires_grad_(requires_grad=False)


@pytest.fixture(
    params=["depth, arm", "depth", "rgb, arm", "depth, arm, task", "depth, arm, object"]
)
def bundle(request, tiny_bundle, randomised):
    branches, *parts = request.param.split(", ")
    convention = tiny_bundle.controls.convention
    controls = unscaled(
        convention,
        stride=STRIDE,
        state_size=2,
        proprioception=arm_model(convention, objects=("cube_x",) if "object" in parts else ())
        if "arm" in parts
        else None,
    )
    statistics = replace(controls.statistics, task_size=8 if "task" in parts else 0)
    controls = ControlEncoder(statistics, controls.proprioception)
    config = replace(
        tiny_bundle.world_model.config,
        control_size=controls.size,
        branches="rgb" if branches == "rgb" else "both",
    )
    return Bundle(
        tokenizer=tiny_bundle.tokenizer,
        world_model=randomised(WorldModel(config)),
        controls=controls,
        object_reader=object_reader(tiny_bundle.world_model.config) if "object" in parts else None,
    )


@pytest.fixture
def make(bundle):
    def simulator(batch=2, **settings):
        return LearnedSimulator(bundle, batch=batch, cameras=(CAMERA,), **settings)

    return simulator


@pytest.fixture
def actions():
    """Of seven frames of four worlds."""
    shape = (7, 4, STRIDE, 3)
    return np.random.default_rng(0).uniform(-1, 1, size=shape).astype(np.float32)


def starts(dataset, *episodes, **settings):
    return [EpisodeStart(dataset=dataset, episode=episode, **settings) for episode in episodes]


def arrays(observation):
    """All numbers of an observation, by name."""
    found = {"state": observation.state}
    for field in ("rgb", "depth_m", "confidence", "tokens"):
        found |= {f"{field}/{name}": one for name, one in getattr(observation, field).items()}
    return found


def same(one, other, *, worlds=slice(None), others=None):
    others = worlds if others is None else others
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name][worlds], second[name][others]) for name in first)


@pytest.mark.parametrize("prompt_frames", [1, 3])
def test_it_shows_what_imagining_the_whole_episode_shows(bundle, make, lift_dataset, prompt_frames):
    row, frames = (prompt_frames - 1) * STRIDE, 4
    simulator = make(batch=1)
    simulator.reset(starts(lift_dataset, 1, row=row, prompt_frames=prompt_frames))
    recorded = lift_dataset.actions(1)[: row + frames * STRIDE]
    found = [
        simulator.step(recorded[None, at : at + STRIDE]) for at in range(row, len(recorded), STRIDE)
    ]
    rows = slice(0, row + 1, STRIDE)
    given = Videos(
        rgb=lift_dataset.frames(1, CAMERA, rows)[None],
        depth_m=lift_dataset.depth_m(1, CAMERA, rows)[None],
    )
    prompt = encode_videos(bundle.tokenizer, given)
    task = [lift_dataset.episode_info(1).task]
    signals = bundle.controls.encode(
        recorded[None],
        lift_dataset.state(1)[:1],
        task=task,
        objects=first_objects(bundle, prompt),
    )
    codes = whole_rollout(bundle, prompt, signals)
    expected = decode_videos(bundle.tokenizer, codes)
    for at, observation in enumerate(found, start=prompt_frames):
        np.testing.assert_array_equal(observation.rgb[CAMERA], expected.rgb[:, at])
        if expected.depth_m is not None:
            np.testing.assert_array_equal(observation.depth_m[CAMERA], expected.depth_m[:, at])
        confidence = observation.confidence[CAMERA]
        assert confidence.shape == (1, 4, 4) and (confidence > 0).all() and (confidence < 1).all()


def test_the_first_observation_is_the_given_frame_itself(bundle, make, lift_dataset):
    simulator = make()
    seen = simulator.reset(starts(lift_dataset, 1, 0, row=3))
    given = [lift_dataset.frames(episode, CAMERA, slice(3, 4))[0] for episode in (1, 0)]
    np.testing.assert_array_equal(seen.rgb[CAMERA], given)
    assert (seen.confidence[CAMERA] == 1).all()
    has_depth = bundle.world_model.config.modalities > 1
    assert set(seen.depth_m) == ({CAMERA} if has_depth else set())
    assert simulator.spec.cameras[0].has_depth == has_depth
    if has_depth:
        depth_m = [lift_dataset.depth_m(episode, CAMERA, slice(3, 4))[0] for episode in (1, 0)]
        np.testing.assert_array_equal(seen.depth_m[CAMERA], depth_m)


def test_states_are_the_arm_models_or_of_size_zero(bundle, make, lift_dataset, actions):
    simulator = make(batch=1)
    seen = [simulator.reset(starts(lift_dataset, 1, row=3))]
    seen += [simulator.step(one[:1]) for one in actions[:3]]
    arm = bundle.controls.proprioception
    if arm is None:
        assert simulator.spec.state_names == ()
        assert all(one.state.shape == (1, 0) for one in seen)
        return
    assert simulator.spec.state_names == ("eef_x", "eef_y")
    state = lift_dataset.state(1)
    taken = np.concatenate(actions[:3, 0])[None]
    given = Videos(
        rgb=lift_dataset.frames(1, CAMERA, slice(3, 4))[None],
        depth_m=lift_dataset.depth_m(1, CAMERA, slice(3, 4))[None],
    )
    placed = first_objects(bundle, encode_videos(bundle.tokenizer, given))
    expected = arm.imagine(taken, state[[3]], state_before=state[[2]], objects=placed)
    told = bool(bundle.controls.object_names)
    assert (placed is not None) == told
    untold = arm.imagine(taken, state[[3]], state_before=state[[2]])
    assert np.allclose(untold, expected, rtol=1e-5) == (not told)
    np.testing.assert_allclose(
        np.stack([one.state[0] for one in seen]), expected[0, ::STRIDE], rtol=1e-5
    )


def test_a_frame_of_ones_own_is_as_good_as_an_episodes(bundle, make, lift_dataset, actions):
    row = 3
    state = lift_dataset.state(1)
    own = FrameStart(
        rgb={CAMERA: lift_dataset.frames(1, CAMERA, slice(row, row + 1))[0]},
        depth_m={CAMERA: lift_dataset.depth_m(1, CAMERA, slice(row, row + 1))[0]},
        state=state[row],
        state_before=state[row - 1],
        task=lift_dataset.episode_info(1).task,
    )
    simulator = make()
    seen = simulator.reset([own, *starts(lift_dataset, 1, row=row)])
    assert same(seen, seen, worlds=[0], others=[1])
    for one in actions[:3]:
        seen = simulator.step(one[[0, 0]])
        assert same(seen, seen, worlds=[0], others=[1])
    # Without the row before the arm is at rest, which an arm model takes notice of.
    resting = make().reset([replace(own, state_before=None), own])
    assert same(resting, resting, worlds=[0], others=[1])


def test_a_start_tells_its_task_or_the_simulator_does(bundle_of_tasks, lift_dataset, actions):
    own = FrameStart(
        rgb={CAMERA: lift_dataset.frames(1, CAMERA, slice(0, 1))[0]},
        depth_m={CAMERA: lift_dataset.depth_m(1, CAMERA, slice(0, 1))[0]},
        state=lift_dataset.state(1)[0],
    )

    def imagined(*starts, **settings):
        simulator = LearnedSimulator(bundle_of_tasks, batch=3, cameras=(CAMERA,), **settings)
        simulator.reset(starts)
        return simulator.step(actions[0, [0, 0, 0]])

    told = replace(own, task="open the door")
    seen = imagined(own, told, replace(own, task="close the door"))
    assert not same(seen, seen, worlds=[0], others=[1])
    assert not same(seen, seen, worlds=[1], others=[2])
    default = imagined(own, told, replace(own, task="close the door"), task="open the door")
    assert same(default, seen, worlds=[0, 1, 2], others=[1, 1, 2])


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
def test_resetting_one_world_leaves_the_others_bit_equal(make, lift_dataset, actions, sampling):
    left, disturbed = (make(batch=3, sampling=sampling) for _ in range(2))
    for one in (left, disturbed):
        one.reset(starts(lift_dataset, 0, 1, 2))
    for time, taken in enumerate(actions):
        if time == 3:
            where = np.array([False, True, False])
            new = starts(lift_dataset, 1, row=12, prompt_frames=3)
            seen = disturbed.reset(new, where=where)
            assert same(seen, left.observe(), worlds=[0, 2])
            given = lift_dataset.frames(1, CAMERA, slice(12, 13))
            np.testing.assert_array_equal(seen.rgb[CAMERA][[1]], given)
        assert same(left.step(taken[:3]), disturbed.step(taken[:3]), worlds=[0, 2])


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "drawn"])
def test_forks_with_equal_actions_have_equal_futures(make, lift_dataset, actions, sampling):
    simulator = make(sampling=sampling)
    simulator.reset(starts(lift_dataset, 0, 1))
    before = simulator.step(actions[0, :2])
    seen = fork(simulator, 2)
    assert simulator.batch == 4
    assert same(seen, before, worlds=[0, 1, 2, 3], others=[0, 0, 1, 1])
    for taken in actions[1:4]:
        seen = simulator.step(taken[[0, 0, 1, 1]])
        assert same(seen, seen, worlds=[0, 2], others=[1, 3])
    simulator.reseed(5)
    seen = simulator.step(actions[4, [0, 0, 1, 1]])
    drawn = sampling.temperature > 0
    assert same(seen, seen, worlds=[0], others=[1]) != drawn


@pytest.mark.parametrize("decode", ["all", "rgb", "none"])
def test_restoring_is_never_having_left(make, lift_dataset, actions, decode):
    left, away = (make(sampling=WARM, decode=decode) for _ in range(2))
    for one in (left, away):
        one.reset(starts(lift_dataset, 0, 1))
        one.step(actions[0, :2])
    snapshot = away.snapshot()
    away.step(actions[1, 2:])
    away.reset(starts(lift_dataset, 2), where=np.array([True, False]))
    away.step(actions[2, 2:])
    assert same(away.restore(snapshot), left.observe())
    for taken in actions[1:5]:
        assert same(left.step(taken[:2]), away.step(taken[:2]))
    assert same(left.observe("all"), away.observe("all"))
    where = np.array([False, True])
    now = away.observe("all")
    seen = away.restore(snapshot, where=where, index=np.array([0]))
    first = make(sampling=WARM, decode=decode)
    first.restore(snapshot, index=np.array([0]))
    assert same(away.observe("all"), now, worlds=[0])
    assert same(seen, first.observe(), worlds=[1], others=[0])


def test_less_is_decoded_where_less_is_asked_for(bundle, make, lift_dataset, actions, monkeypatch):
    calls, original = [], bundle.tokenizer.decode

    def counted(codes, given, soft):
        calls.append(len(codes))
        return original(codes, given, soft)

    monkeypatch.setattr(bundle.tokenizer, "decode", counted)
    plain, blind = make(), make(decode="none")
    for one in (plain, blind):
        one.reset(starts(lift_dataset, 0, 1))
    assert not calls, "given frames are not decoded"
    for taken in actions[:2]:
        seen, unseen = plain.step(taken[:2]), blind.step(taken[:2])
    kinds = bundle.world_model.config.modalities
    assert calls == [2 * kinds] * 2, "both kinds of both worlds in one pass a step"
    assert not unseen.rgb and not unseen.depth_m
    assert torch.equal(plain.tokens, blind.tokens)
    assert plain.tokens.shape == (kinds, 2, 16)
    calls.clear()
    blind.restore(blind.snapshot(), index=np.array([0, 1, 1]))
    blind.reset(starts(lift_dataset, 2), where=np.array([False, True, False]))
    looked = blind.observe("rgb")
    assert calls == [2], "only the RGB that nobody had seen"
    np.testing.assert_array_equal(looked.rgb[CAMERA][[0, 2]], seen.rgb[CAMERA])
    blind.observe("rgb")
    assert len(calls) == 1


def test_observations_are_the_callers_own(make, lift_dataset, actions):
    simulator = make()
    seen = simulator.reset(starts(lift_dataset, 0, 1))
    expected = {name: one.copy() for name, one in arrays(seen).items()}
    for one in arrays(seen).values():
        one[...] = 0
    for name, one in arrays(simulator.observe()).items():
        np.testing.assert_array_equal(one, expected[name])


def test_it_is_a_simulator_with_the_bundles_spec(bundle, make):
    simulator = make(task="lift")
    assert isinstance(simulator, Simulator)
    spec = simulator.spec
    assert (spec.frame_hz, spec.stride, spec.task) == (10.0, STRIDE, "lift")
    assert spec.action == bundle.controls.convention
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [(CAMERA, SIDE, SIDE)]


def frame_start(**changes):
    given = {
        "rgb": {CAMERA: np.zeros((SIDE, SIDE, 3), np.uint8)},
        "depth_m": {CAMERA: np.ones((SIDE, SIDE), np.float32)},
        "state": np.zeros(2, np.float32),
    }
    return FrameStart(**(given | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb": {}}, "cameras front"),
        ({"rgb": {CAMERA: np.zeros((32, 32, 3), np.uint8)}}, "64 x 64 pixels"),
        ({"rgb": {CAMERA: np.zeros((SIDE, SIDE, 3))}}, "uint8"),
        ({"state": np.zeros(3)}, "2 finite numbers"),
        ({"state": np.array([0, np.nan])}, "2 finite numbers"),
        ({"state_before": np.zeros(3)}, "`state_before`"),
        ({"depth_m": {}}, "needs the given frame's"),
        ({"depth_m": {CAMERA: np.ones((32, 32), np.float32)}}, "needs the given frame's"),
    ],
)
def test_a_start_that_does_not_fit_changes_nothing(
    bundle, make, lift_dataset, actions, change, message
):
    try:
        misfit = frame_start(**change)
    except TypeCheckError:
        return  # Where shapes are checked, a misfit is refused before it gets here.
    if "depth_m" in change and bundle.world_model.config.modalities == 1:
        make(batch=1).reset([misfit])
        return
    simulator = make()
    simulator.reset(starts(lift_dataset, 0, 1))
    before = simulator.snapshot()
    with pytest.raises(ValueError, match=message):
        simulator.reset([frame_start(), misfit])
    seen = simulator.step(actions[0, :2])
    simulator.restore(before)
    assert same(seen, simulator.step(actions[0, :2]))


def test_a_seed_or_a_row_outside_is_refused(make, lift_dataset):
    simulator = make(batch=1)
    with pytest.raises(ValueError, match="EpisodeStart"):
        simulator.reset([SeedStart(seed=0)])
    for settings in ({"row": 17}, {"row": -1}, {"row": 3, "prompt_frames": 3}):
        with pytest.raises(ValueError, match="row from 0 to 16"):
            simulator.reset(starts(lift_dataset, 0, **settings))
    with pytest.raises(ValueError, match="prompt frames"):
        simulator.reset(starts(lift_dataset, 0, prompt_frames=0))
    with pytest.raises(ValueError, match="one start for each of 1 worlds"):
        simulator.reset(starts(lift_dataset, 0, 1))


def test_wrong_actions_and_misuse_are_refused(make, lift_dataset, actions):
    simulator = make()
    with pytest.raises(ValueError, match="call `reset` first"):
        simulator.step(actions[0, :2])
    simulator.reset(starts(lift_dataset, 0), where=np.array([True, False]))
    with pytest.raises(ValueError, match="call `reset` first"):
        simulator.step(actions[0, :2])
    simulator.reset(starts(lift_dataset, 0, 1))
    for wrong in (actions[0, :1], actions[0, :2, :1], actions[0, :2, :, :2]):
        with pytest.raises(ValueError, match=r"expected actions of shape \(2, 2, 3\)"):
            simulator.step(wrong)
    unknown = actions[0, :2].copy()
    unknown[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        simulator.step(unknown)
    snapshot = simulator.snapshot()
    with pytest.raises(ValueError, match="has no worlds"):
        simulator.restore(snapshot, index=np.array([2]))
    with pytest.raises(ValueError, match="2 worlds of a snapshot for 1 worlds"):
        simulator.restore(snapshot, where=np.array([True, False]))
    with pytest.raises(ValueError, match="mask of 2 booleans"):
        simulator.restore(snapshot, where=np.array([True]))
    with pytest.raises(ValueError, match="same bundle"):
        make(task="another").restore(snapshot)
    simulator.close()
    with pytest.raises(ValueError, match="closed"):
        simulator.step(actions[0, :2])


def test_a_snapshot_holds_all_that_the_simulator_has(make, lift_dataset):
    """A new field of one must be copied by the other."""
    simulator = make()
    simulator.reset(starts(lift_dataset, 0, 1))
    held = {field.name for field in fields(simulator.snapshot().content)}
    state = {name.lstrip("_") for name in vars(simulator)} - {"bundle", "cameras", "decode"}
    assert state == held


def test_worlds_that_are_replaced_free_their_memory_at_once(make, lift_dataset, actions):
    """A planner forks worlds at every decision; until they are collected it would hold all."""
    simulator = make(batch=1)
    simulator.reset(starts(lift_dataset, 1))

    def caches():
        # Not isinstance, which a proxy answers for what it stands for.
        return sum(type(one) is Cache for one in gc.get_objects())

    gc.collect()
    before = caches()
    gc.disable()
    try:
        for _ in range(3):
            simulator.restore(simulator.snapshot(), index=np.zeros(3, int))
            simulator.step(actions[0, :3])
            simulator.restore(simulator.snapshot(), index=np.array([1]))
        after = caches()
    finally:
        gc.enable()
    assert 0 < after == before
