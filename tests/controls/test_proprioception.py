"""Imagined proprioception, its training, and the control signals that it makes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.controls import train
from roboscape.controls.encoder import ControlEncoder
from roboscape.controls.measure import measure_controls
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.controls.train import ProprioceptionRun, Sequences
from roboscape.core import precision
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.training.formats import FORMATS
from roboscape.training.learner import FitConfig
from roboscape.training.optimizer import OptimizerConfig

CONVENTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y"),
    units=("m", "m"),
    scale=(0.1, 0.1),
    frame="robot_base",
    rotation="none",
    gripper="",
    action_hz=10.0,
)
LAG, WALL = 0.6, 0.5
"""The toy arm keeps so much of its speed, and does not get beyond the wall."""


def drive(actions, *, place, speed):
    """A lagging arm before a wall: what summed commands do not know."""
    states = [place]
    for action in actions:
        speed = LAG * speed + (1 - LAG) * 0.1 * action
        place = np.minimum(place + speed, WALL)
        states.append(place)
    return np.array(states)


def episode_of(seed, rows=40):
    generator = np.random.default_rng(seed)
    actions = np.repeat(generator.uniform(-1, 1, size=(rows // 8, 2)), 8, axis=0)
    states = drive(actions, place=generator.uniform(-0.3, 0.3, size=2), speed=np.zeros(2))
    return Episode(
        frames={"front": np.zeros((rows, 16, 16, 3), np.uint8)},
        depth_m={},
        actions=actions.astype(np.float32),
        state=states[:-1].astype(np.float32),
        reward=np.zeros(rows, np.float32),
        tracks={},
        task="drive",
        success=False,
        seed=seed,
        behaviour="drive",
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    spec = DatasetSpec(
        fps=10.0,
        robot_type="toy",
        cameras=(CameraSpec(name="front", height=16, width=16),),
        state_names=("x", "y"),
        action=CONVENTION,
        depth_min_m=0.1,
        depth_max_m=1.0,
        source="toy",
    )
    root = tmp_path_factory.mktemp("toy") / "data"
    seeds = [*range(80), *range(800_000, 800_012)]
    with DatasetWriter(root, spec) as writer:
        for seed in seeds:
            writer.add(episode_of(seed))
    return LeRobotDataset(root)


def run_config(dataset, output, **changes):
    defaults = {
        "width": 32,
        "rows": 24,
        "batch_size": 32,
        "optimizer": OptimizerConfig(kind="adamw", learning_rate=5e-3, warmup_steps=5),
        "fit": FitConfig(steps=200, checkpoint_every=100, evaluate_every=200, average_decay=0.9),
    }
    return ProprioceptionRun(dataset=dataset.root, output=output, **(defaults | changes))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    config = run_config(dataset, tmp_path_factory.mktemp("trained") / "run")
    return config, train.run(config)


def small_model(**changes):
    settings = {"state_names": ("x", "y"), "width": 8, "second_order": True}
    return Proprioception(ProprioceptionConfig(convention=CONVENTION, **(settings | changes)))


def random_model(**changes):
    torch.manual_seed(0)
    model = small_model(**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


@pytest.fixture
def some():
    generator = np.random.default_rng(3)
    return generator.normal(size=(2, 12, 2)), generator.normal(size=(2, 2))


def test_it_learns_where_commands_bring_the_arm(dataset, trained):
    config, model = trained
    held_out = Sequences.read(dataset, "validation")
    states = held_out.states.reshape(-1, 40, 2)
    actions = held_out.actions.reshape(-1, 40, 2)
    found = model.imagine(actions[:, :24], states[:, 0])
    summed = states[:, :1] + np.cumsum(0.1 * actions[:, :24], axis=1)
    error = np.abs(found[:, 1:] - states[:, 1:25]).mean()
    assert error < 0.5 * np.abs(summed - states[:, 1:25]).mean()
    accuracy = json.loads((config.output / "proprioception/accuracy.json").read_text())
    assert accuracy["error_after_16_rows"] < 0.3


def test_a_saved_model_imagines_the_same(trained, some):
    config, model = trained
    loaded = Proprioception.from_pretrained(config.output / "proprioception")
    np.testing.assert_array_equal(loaded.imagine(*some), model.imagine(*some))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_resumed_training_equals_uninterrupted_training(dataset, tmp_path, monkeypatch, kind):
    """Also where the machine that resumes it would iterate Muon in another number format."""
    changes = {
        "fit": FitConfig(steps=12, checkpoint_every=5, evaluate_every=12),
        "optimizer": OptimizerConfig(kind=kind, warmup_steps=5),
    }
    monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: "bf16")
    whole = train.run(run_config(dataset, tmp_path / "whole", **changes))
    begun = {"adamw": "fp32", "muon": "bf16"}[kind]
    assert read_json(tmp_path / "whole" / FORMATS) == {"matmul": begun}
    config = run_config(dataset, tmp_path / "cut", **changes)
    draw = Sequences.draw
    calls = []

    def stopping(self, *args, **settings):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return draw(self, *args, **settings)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sequences, "draw", stopping)
        train.run(config)
    monkeypatch.setattr(precision, "announced_choice", lambda kind, *, threads: "fp32")
    again = train.run(config)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_later_action_changes_no_earlier_state(some):
    actions, first = some
    model = random_model()
    changed = actions.copy()
    changed[:, 7:] += 1
    before, after = model.imagine(actions, first), model.imagine(changed, first)
    np.testing.assert_array_equal(before[:, :8], after[:, :8])
    assert (before[:, 8:] != after[:, 8:]).all()


def test_imagined_states_begin_with_the_given_one(some):
    actions, first = some
    found = random_model().imagine(actions, first)
    assert found.shape == (2, 13, 2)
    np.testing.assert_array_equal(found[:, 0], first.astype(np.float32))
    nowhere = random_model().imagine(actions[:, :0], first)
    np.testing.assert_array_equal(nowhere, first[:, None].astype(np.float32))


def test_an_arm_in_motion_is_told_from_one_at_rest(some):
    actions, first = some
    model = random_model()
    resting = model.imagine(actions, first)
    np.testing.assert_array_equal(model.imagine(actions, first, state_before=first), resting)
    assert (model.imagine(actions, first, state_before=first - 0.1)[:, 1:] != resting[:, 1:]).all()


def test_untaught_it_rests_or_keeps_its_speed(some):
    actions, first = some
    before = first - [0.1, -0.2]
    resting = small_model(second_order=False).imagine(actions, first, state_before=before)
    np.testing.assert_allclose(resting, np.repeat(first[:, None], 13, axis=1), atol=1e-6)
    going_on = small_model().imagine(actions, first, state_before=before)
    way = np.arange(13)[:, None] * [0.1, -0.2]
    np.testing.assert_allclose(going_on, first[:, None] + way, atol=1e-5)
    placed = small_model(object_names=("cube_x",))
    given = (torch.as_tensor(x).float() for x in (actions, first, before, first[:, :1]))
    moved = placed(*given)
    # Objects begin at rest, whatever the arm does.
    assert torch.equal(moved[..., 2], moved[:, :1, 2].expand(-1, 12))


def test_changes_add_up(some):
    actions, first = some
    for second_order, way in ((False, range(13)), (True, np.cumsum(range(13)))):
        model = small_model(second_order=second_order)
        with torch.no_grad():
            model.change[-1].bias.fill_(0.1)
        found = model.imagine(actions, first)
        moved = 0.1 * np.array(way)[:, None]
        np.testing.assert_allclose(found, first[:, None] + moved, atol=1e-5)


@pytest.mark.parametrize("second_order", [False, True])
def test_in_pieces_it_imagines_the_same(some, second_order):
    actions, first = (torch.as_tensor(x, dtype=torch.float32) for x in some)
    model = random_model(second_order=second_order)
    whole = model(actions, first, first - 0.1)
    arm, found = model.start(first, first - 0.1), []
    for piece in actions.split([5, 1, 6], dim=1):
        arm, states = model.advance(arm, piece)
        found.append(states)
    torch.testing.assert_close(torch.cat(found, dim=1), whole)
    assert arm.hidden.shape == (2, model.config.hidden_size)


def test_a_start_of_another_order_is_refused(dataset, trained, tmp_path):
    config, _ = trained
    start = str(config.output / "proprioception")
    changed = run_config(dataset, tmp_path / "run", start_from=start, second_order=False)
    with pytest.raises(UserError, match="second_order"):
        train.run(changed)
    assert not (tmp_path / "run").exists()


def test_numbers_that_never_change_do_no_harm(dataset, some):
    found = Sequences.read(dataset, "train")
    still = replace(found, states=found.states * np.array([1.0, 0.0]))
    model = random_model()
    model.set_deviations(still.deviations())
    assert np.isfinite(model.imagine(*some)).all()


def test_drawn_sequences_are_of_one_episode_and_end_with_it(dataset):
    found = Sequences.read(dataset, "train")
    batch = found.draw(np.random.default_rng(0), size=64, rows=60, from_start=0.0)
    # Episodes have 40 rows, hence 39 actions whose outcome is known.
    assert (batch.known.sum(dim=1) == 39).all()
    states = batch.states[:, :40].numpy()
    allowed = found.states.reshape(-1, 40, 2)
    assert all((allowed == row).all(axis=(1, 2)).any() for row in states)
    assert torch.equal(batch.state_before, batch.states[:, 0]), "nothing came before the first row"
    short = found.draw(np.random.default_rng(0), size=64, rows=8, from_start=0.0)
    assert short.known.all()
    assert not torch.equal(short.state_before, short.states[:, 0])
    first = found.draw(np.random.default_rng(0), size=64, rows=8, from_start=1.0)
    assert torch.equal(first.state_before, first.states[:, 0])


def test_signals_hold_the_imagined_state(dataset, trained, tmp_path):
    _, model = trained
    statistics = measure_controls([dataset], stride=2, proprioception=model, length=6, clips=200)
    encoder = ControlEncoder(statistics, model)
    actions, state = dataset.actions(3)[None, :10], dataset.state(3)[None, 0]
    signals = encoder.encode(actions, state)
    assert signals.shape == (1, 6, encoder.size)
    raw = signals.numpy() * np.array(statistics.std) + np.array(statistics.mean)
    states = model.imagine(actions, state)
    np.testing.assert_allclose(raw[:, :, 4:6], states[:, ::2], atol=1e-5)
    encoder.save(tmp_path)
    torch.testing.assert_close(ControlEncoder.load(tmp_path).encode(actions, state), signals)


def test_statistics_and_model_belong_together(dataset, trained):
    statistics = measure_controls([dataset], stride=2)
    with pytest.raises(ValueError, match="belong together"):
        ControlEncoder(statistics, trained[1])
    with pytest.raises(ValueError, match="belong together"):
        ControlEncoder(measure_controls([dataset], stride=2, proprioception=trained[1], clips=4))


def edited(root: Path, output: Path, change) -> LeRobotDataset:
    shutil.copytree(root, output)
    path = output / "meta/roboscape.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return LeRobotDataset(output)


def test_another_robot_is_refused(dataset, tmp_path):
    other = edited(
        dataset.root,
        tmp_path / "other",
        lambda meta: meta | {"action": meta["action"] | {"gripper": "+1 opens"}},
    )
    with pytest.raises(ValueError, match="roboscape train proprioception"):
        random_model().check(other)


def test_a_dataset_without_states_is_refused(dataset, tmp_path):
    blind = edited(dataset.root, tmp_path / "blind", lambda meta: meta | {"state_names": []})
    with pytest.raises(ValueError, match="records no proprioception"):
        train.run(run_config(blind, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_split_without_episodes_is_refused(dataset):
    with pytest.raises(ValueError, match="for test"):
        Sequences.read(dataset, "test")
