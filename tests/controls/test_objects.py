"""An arm model that is told where objects are, from its recordings to the signals it makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.controls import train
from roboscape.controls.encoder import ControlEncoder
from roboscape.controls.measure import measure_controls
from roboscape.controls.proprioception import (
    NEAR_M,
    Proprioception,
    ProprioceptionConfig,
    proprioception_loss,
)
from roboscape.controls.train import ProprioceptionRun, Sequences
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.training.learner import FitConfig
from roboscape.training.optimizer import OptimizerConfig

HAND, OBJECTS = ("eef_x", "eef_y", "eef_z"), ("wall_x",)
CONVENTION = ActionConvention(
    mode="delta",
    names=("eef_x",),
    units=("m",),
    scale=(0.1,),
    frame="robot_base",
    rotation="none",
    gripper="",
    action_hz=10.0,
)
SPEC = DatasetSpec(
    fps=10.0,
    robot_type="toy",
    cameras=(),
    state_names=HAND,
    object_names=OBJECTS,
    action=CONVENTION,
)


def episode_of(seed, rows=30):
    """A hand that mostly goes to the right, until a wall that stands somewhere else each time."""
    generator = np.random.default_rng(seed)
    wall = generator.uniform(0.1, 0.6)
    actions = generator.uniform(-0.2, 0.8, size=(rows, 1))
    places = [0.0]
    for action in actions[:-1, 0]:
        places.append(min(places[-1] + 0.05 * action, wall))
    state = np.zeros((rows, 3))
    state[:, 0] = places
    return Episode(
        frames={},
        depth_m={},
        actions=actions.astype(np.float32),
        state=state.astype(np.float32),
        objects=np.full((rows, 1), wall, np.float32),
        reward=np.zeros(rows, np.float32),
        tracks={},
        task="drive",
        success=False,
        seed=seed,
        behaviour="drive",
    )


SEEDS = (*range(120), *range(800_000, 800_020))


def recorded(root, *, spec=SPEC, seeds=SEEDS):
    with DatasetWriter(root, spec) as writer:
        for seed in seeds:
            one = episode_of(seed)
            writer.add(one if spec.object_names else replace(one, objects=None))
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("walls") / "data")


def run_config(dataset, output, **changes):
    return ProprioceptionRun(
        dataset=dataset.root,
        output=output,
        **{
            "width": 32,
            "rows": 24,
            "batch_size": 32,
            "optimizer": OptimizerConfig(kind="adamw", learning_rate=5e-3, warmup_steps=5),
            "fit": FitConfig(steps=300, checkpoint_every=300, evaluate_every=300),
        }
        | changes,
    )


@pytest.fixture(scope="module")
def told(dataset, tmp_path_factory):
    config = run_config(dataset, tmp_path_factory.mktemp("told") / "run")
    return config, train.run(config)


def held_out(dataset):
    found = Sequences.read(dataset, "validation", objects=True)
    return (values.reshape(20, 30, -1) for values in (found.actions, found.states, found.objects))


def test_recordings_say_where_objects_are(dataset):
    np.testing.assert_array_equal(dataset.objects(3), episode_of(3).objects)
    np.testing.assert_array_equal(dataset.episode(3).objects, episode_of(3).objects)
    assert dataset.spec.object_names == OBJECTS


def test_an_episode_without_objects_does_not_fit(tmp_path):
    wanted = pytest.raises(UserError, match="object rows of 1 numbers")
    with DatasetWriter(tmp_path / "data", SPEC) as writer, wanted:
        writer.add(replace(episode_of(0), objects=None))


def test_told_of_a_wall_it_stops_there_and_untold_it_guesses(dataset, told):
    config, model = told
    actions, states, objects = held_out(dataset)
    true = states[:, 1:25]

    def missed(placed):
        found = model.imagine(actions[:, :24], states[:, 0], objects=placed)
        return np.abs(found[:, 1:] - true).mean()

    assert missed(objects[:, 0]) < 0.3 * missed(None)
    # Every place is used: with another episode's it stops there.
    assert missed(objects[::-1, 0].copy()) > 2 * missed(objects[:, 0])
    accuracy = read_json(config.output / "proprioception/accuracy.json")
    known, unknown = (accuracy[f"error_after_16_rows{which}"] for which in ("", "_objects_unknown"))
    assert known < 0.5 * unknown


def test_of_unknown_objects_it_is_told_nothing(dataset, told):
    _, model = told
    actions, states, objects = held_out(dataset)
    nothing = model.imagine(actions, states[:, 0])
    unknown = np.full_like(objects[:, 0], np.nan)
    np.testing.assert_array_equal(model.imagine(actions, states[:, 0], objects=unknown), nothing)
    # Each sequence has its own.
    some = np.where(np.arange(20)[:, None] < 5, objects[:, 0], np.nan)
    found = model.imagine(actions, states[:, 0], objects=some)
    known = model.imagine(actions, states[:, 0], objects=objects[:, 0])
    np.testing.assert_allclose(found[:5], known[:5], atol=1e-5)
    np.testing.assert_allclose(found[5:], nothing[5:], atol=1e-5)


def test_a_saved_model_is_told_the_same(dataset, told):
    config, model = told
    loaded = Proprioception.from_pretrained(config.output / "proprioception")
    actions, states, objects = held_out(dataset)
    np.testing.assert_array_equal(
        loaded.imagine(actions, states[:, 0], objects=objects[:, 0]),
        model.imagine(actions, states[:, 0], objects=objects[:, 0]),
    )


def test_signals_step_by_step_are_those_of_all_at_once(dataset, told):
    _, model = told
    statistics = measure_controls([dataset], stride=2, proprioception=model, length=6, clips=50)
    encoder = ControlEncoder(statistics, model)
    actions, states, objects = (values[:3] for values in held_out(dataset))
    whole = encoder.encode(actions[:, :8], states[:, 0], objects=objects[:, 0])
    assert whole.shape == (3, 5, encoder.size), "objects are imagined, and no signal holds them"
    stream = encoder.stream()
    stream.reset(states[:, 0], objects=objects[:, 0])
    # Worlds 2 and 0 go on elsewhere, with their objects.
    elsewhere = encoder.stream()
    elsewhere.restore(stream.snapshot().take([2, 0]))
    for frame in range(4):
        native = actions[:, 2 * frame : 2 * frame + 2]
        np.testing.assert_allclose(stream.step(native), whole[:, frame + 1], atol=1e-5)
        np.testing.assert_allclose(
            elsewhere.step(native[[2, 0]]), whole[[2, 0], frame + 1], atol=1e-5
        )
    assert not torch.allclose(whole, encoder.encode(actions[:, :8], states[:, 0]))


def test_distances_are_those_from_the_hand():
    config = ProprioceptionConfig(
        convention=CONVENTION,
        state_names=("speed", *HAND),
        object_names=("cube_yaw", "cube_z", "cube_x"),
    )
    assert config.distances == ((1, 3), (2, 1))
    model = Proprioception(config)
    whole = torch.tensor([[9.0, 0.1, 0.2, 0.3, 7.0, 0.33, 0.04]])
    np.testing.assert_allclose(
        model._distances(whole), [[0.03 / NEAR_M, -0.06 / NEAR_M]], rtol=1e-4
    )
    untold = replace(config, object_names=())
    assert untold.distances == ()
    no_hand = replace(config, state_names=("joint_1",))
    assert no_hand.distances == ()


def test_what_is_unknown_teaches_nothing():
    imagined = torch.ones(1, 2, 2, requires_grad=True)
    true = torch.tensor([[[0.0, torch.nan], [torch.nan, 0.0]]])
    loss = proprioception_loss(imagined, true, known=torch.tensor([[1.0, 0.0]]))
    # One number counts: the others are unknown, or beyond the episode's end.
    assert loss.item() == pytest.approx(1.0, abs=0.01)
    loss.backward()
    np.testing.assert_allclose(imagined.grad, [[[1.0, 0.0], [0.0, 0.0]]])


def test_recordings_without_objects_teach_an_arm_that_is_not_told(dataset, tmp_path):
    plain = recorded(tmp_path / "plain", spec=replace(SPEC, object_names=()))
    short = FitConfig(steps=2, checkpoint_every=2, evaluate_every=2)
    model = train.run(run_config(plain, tmp_path / "run", fit=short))
    assert model.config.object_names == ()
    left_out = train.run(run_config(dataset, tmp_path / "left_out", fit=short, objects=False))
    for name, value in model.state_dict().items():
        assert torch.equal(value, left_out.state_dict()[name]), name
    with pytest.raises(UserError, match=r"says where wall_x are and .* does not"):
        train.run(run_config(dataset, tmp_path / "other", validation=plain.root))


def test_going_on_keeps_what_was_learnt_and_its_units(dataset, told, tmp_path):
    config, model = told
    beginning = run_config(
        recorded(tmp_path / "data", seeds=range(200, 210)),
        tmp_path / "run",
        validation=dataset.root,
        start_from=str(config.output / "proprioception"),
        optimizer=OptimizerConfig(kind="adamw", learning_rate=0.0),
        fit=FitConfig(steps=1),
    )
    again = train.run(beginning)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    with pytest.raises(UserError, match=r"does not fit as a start \(.*width"):
        train.run(replace(beginning, output=tmp_path / "other", width=16))
    assert not (tmp_path / "other").exists()


def test_several_datasets_are_learnt_as_if_they_were_one(tmp_path):
    validation = recorded(tmp_path / "validation", seeds=range(800_000, 800_020))

    def learnt(*parts):
        first, *more = (
            recorded(tmp_path / f"{len(parts)} {seeds}", seeds=seeds).root for seeds in parts
        )
        config = run_config(
            LeRobotDataset(first),
            tmp_path / f"run{len(parts)}",
            more=tuple(more),
            validation=validation.root,
            fit=FitConfig(steps=5),
        )
        return train.run(config).state_dict()

    one, two = learnt(range(30)), learnt(range(20), range(20, 30))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=0)


def test_a_further_dataset_without_objects_is_refused(dataset, tmp_path):
    other = recorded(tmp_path / "data", spec=replace(SPEC, object_names=()))
    config = run_config(dataset, tmp_path / "run", more=(other.root,))
    with pytest.raises(UserError, match="does not; record both alike"):
        train.run(config)
