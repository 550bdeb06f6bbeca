"""What a world model takes over from another, and what begins anew."""

import logging
from dataclasses import replace

import pytest
import torch

from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs
from roboscape.world_model.start import reads_controls, start_from

SHAPE = WorldModelConfig(control_size=5, num_layers=1, width=16, heads=2, grid=(4, 4), max_frames=6)


@pytest.fixture
def folder(tmp_path, randomised):
    """A model with depth, none of whose weights is as it was initialised."""
    randomised(WorldModel(SHAPE)).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def compare(model, fresh, folder):
    """Names of the tensors equal to those of the start, and to those before starting."""
    start = WorldModel.from_pretrained(folder).state_dict()
    mine = model.state_dict()
    same = {name for name in mine if name in start and start[name].shape == mine[name].shape}
    taken = {name for name in same if torch.equal(start[name], mine[name])}
    return taken, {name for name in mine if torch.equal(fresh[name], mine[name])}


def started(shape, folder, *, new_controls=False):
    model = WorldModel(shape)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = start_from(model, folder, new_controls=new_controls)
    return model, fresh, found


def test_everything_is_taken_over(folder):
    model, fresh, found = started(replace(SHAPE, max_frames=9), folder)
    taken, _ = compare(model, fresh, folder)
    assert taken == set(found.kept) == set(model.state_dict())
    assert (found.new, found.left) == ((), ())


def test_a_share_that_was_fitted_to_other_episodes_is_no_part_of_the_computation(tmp_path):
    WorldModel(replace(SHAPE, persistence=0.2)).save_pretrained(tmp_path / "fitted")
    model, fresh, _ = started(SHAPE, tmp_path / "fitted")
    taken, _ = compare(model, fresh, tmp_path / "fitted")
    assert taken == set(model.state_dict()) and model.config.persistence == 0.0


def test_a_control_field_may_be_new(folder, tmp_path, randomised, caplog):
    caplog.set_level(logging.INFO)
    wider = replace(SHAPE, control_field=8)
    _, _, found = started(wider, folder)
    assert found.new and all(".control_field." in name for name in found.new)
    assert "begins anew" in caplog.text
    randomised(WorldModel(wider)).save_pretrained(tmp_path / "wider")
    model, fresh, found = started(
        replace(wider, control_size=8), tmp_path / "wider", new_controls=True
    )
    taken, untouched = compare(model, fresh, tmp_path / "wider")
    assert {name for name in fresh if reads_controls(name)} == set(found.new) <= untouched
    assert taken >= set(fresh) - set(found.new)
    with pytest.raises(ValueError, match="control_field: 8 there, 0 here"):
        started(SHAPE, tmp_path / "wider")


@pytest.mark.parametrize("control_size", [5, 8])
def test_what_reads_new_control_signals_begins_anew_and_all_else_is_taken(
    folder, control_size, caplog
):
    caplog.set_level(logging.INFO)
    shape = replace(SHAPE, control_size=control_size)
    model, fresh, found = started(shape, folder, new_controls=True)
    taken, untouched = compare(model, fresh, folder)
    controls = {
        f"branches.{m}.embedding.control.{kind}" for m in (0, 1) for kind in ("weight", "bias")
    }
    assert set(found.new) == controls <= untouched
    assert taken >= set(model.state_dict()) - controls
    for name in controls:
        assert name in caplog.text


def test_a_control_field_reads_the_controls_too():
    assert reads_controls("branches.1.control_field.out.weight")
    assert reads_controls("branches.0.embedding.control.bias")
    assert not reads_controls("branches.1.embedding.current.tables.weight")
    assert not reads_controls("injections.0.weight")


def test_a_model_of_rgb_alone_takes_the_rgb_branch(folder, caplog):
    caplog.set_level(logging.INFO)
    model, fresh, found = started(replace(SHAPE, branches="rgb"), folder)
    taken, _ = compare(model, fresh, folder)
    assert taken == set(model.state_dict())
    assert all(name.startswith(("branches.1.", "injections.")) for name in found.left)
    assert "depth branch" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"control_size": 8}, r"embedding.control.weight.*--new-controls"),
        ({"heads": 4}, "heads: 2 there, 4 here"),
        ({"width": 32}, "width: 16 there, 32 here"),
        ({"objective": "masked"}, "objective: next_frame there, masked here"),
        ({"inject_depth": False}, "inject_depth True"),
        ({"time_position": "learned"}, "time_position: rotary there"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(folder, change, said):
    with pytest.raises(ValueError, match=said):
        started(replace(SHAPE, **change), folder)


def test_a_start_without_depth_cannot_give_a_depth_branch(tmp_path):
    WorldModel(replace(SHAPE, branches="rgb")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no depth branch"):
        started(SHAPE, tmp_path)


def test_a_table_of_times_fits_one_length_of_clips(tmp_path):
    shape = replace(SHAPE, time_position="learned")
    WorldModel(shape).save_pretrained(tmp_path)
    started(shape, tmp_path)
    with pytest.raises(ValueError, match="max_frames: 6 there, 7 here"):
        started(replace(shape, max_frames=7), tmp_path)


def test_each_of_two_views_begins_as_the_only_one_did(folder):
    model, _, found = started(replace(SHAPE, views=("front", "wrist")), folder)
    assert {name.rpartition(".")[2] for name in found.new} == {"camera", "missing"}
    single = WorldModel.from_pretrained(folder)
    tokens = torch.randint(64, (2, 1, 4, 16)).int()
    controls = torch.randn(1, 4, 5)
    one = single.embed(next_frame_inputs(tokens, controls), positions=torch.arange(3))
    twice = next_frame_inputs(torch.cat([tokens, tokens], dim=3), controls)
    for alone, both in zip(one, model.embed(twice, positions=torch.arange(3)), strict=True):
        assert torch.equal(torch.cat([alone, alone], dim=2), both)
    with pytest.raises(ValueError, match="views"):
        model.save_pretrained(folder)
        started(SHAPE, folder)
