"""What `learn --from` takes of a bundle, and which datasets fit it."""

import copy
import logging
from dataclasses import replace

import pytest

from roboscape.controls.encoder import ControlEncoder
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.controls.signals import control_size
from roboscape.pipelines.fine_tuning import StartBundle
from roboscape.presets import tokenizer as tokenizer_presets
from roboscape.presets import world_model as world_model_presets
from tests.conftest import CONVENTION


@pytest.fixture
def start(tiny_bundle, tmp_path) -> StartBundle:
    tiny_bundle.save_pretrained(tmp_path / "tiny")
    return StartBundle.load(str(tmp_path / "tiny"))


def test_shapes_are_the_bundles_and_length_and_branches_the_datasets(start, tiny_bundle):
    run = world_model_presets.lift()
    run = replace(run, model=replace(run.model, max_frames=9, branches="rgb"))
    found = start.world_model_run(run, new_controls=True)
    expected = replace(tiny_bundle.world_model.config, max_frames=9, branches="rgb")
    assert found.model == expected
    assert found.start_from == str(start.folder / "world_model")
    assert found.new_controls
    assert found.loss == run.loss and found.batch_size == run.batch_size
    tokenizer = start.tokenizer_run(tokenizer_presets.lift())
    # The preset's decoder reads a given frame, the bundle's not yet.
    assert tokenizer.model == replace(tiny_bundle.tokenizer.config, given_frame=True)
    assert tokenizer.start_from == str(start.folder / "tokenizer")


def test_the_share_of_the_given_frame_is_fitted_anew(start):
    fitted = replace(start, world_model=replace(start.world_model, persistence=0.2))
    run = fitted.world_model_run(world_model_presets.lift(), new_controls=False)
    assert run.model.persistence == 0.0


def test_fine_tuning_is_short_and_ended_by_validation(start):
    run, tokenizer = world_model_presets.lift(), tokenizer_presets.lift()
    for before, after in (
        (run, start.world_model_run(run, new_controls=False)),
        (tokenizer, start.tokenizer_run(tokenizer)),
    ):
        assert after.fit.steps < before.fit.steps
        assert after.fit.stop.figure and after.fit.stop.after


def test_images_of_another_size_are_refused(start, lift_dataset):
    start.check(lift_dataset, camera="front")
    larger = replace(start, tokenizer=replace(start.tokenizer, image_size=128))
    with pytest.raises(ValueError, match=r"128 x 128, camera `front` of .* has 64 x 64"):
        larger.check(lift_dataset, camera="front")


def test_a_bundle_of_rgb_alone_leaves_depth_out_unless_it_was_asked_for(start, caplog):
    caplog.set_level(logging.INFO)
    assert start.depth("recorded", asked=None) == "recorded"
    rgb = replace(start, world_model=replace(start.world_model, branches="rgb"))
    assert rgb.depth("recorded", asked=None) == "none"
    assert "depth is left out" in caplog.text
    assert rgb.depth("none", asked="none") == "none"
    with pytest.raises(ValueError, match=r"imagines RGB alone.*got --depth recorded"):
        rgb.depth("recorded", asked="recorded")


def test_signals_are_kept_for_the_same_actions_states_and_stride_only(start, lift_dataset):
    assert start.same_controls(lift_dataset, stride=2)
    assert not start.same_controls(lift_dataset, stride=1)
    spec = lift_dataset.spec
    for other in (
        replace(spec, action=replace(spec.action, gripper="+1 opens, -1 closes")),
        replace(spec, state_names=("eef_x",)),
    ):
        recorded = copy.copy(lift_dataset)
        recorded.spec = other
        assert not start.same_controls(recorded, stride=2)


def test_states_are_compared_by_name_where_the_bundle_imagines_them(start, lift_dataset):
    names = ("joint_1", "joint_2")
    arm = Proprioception(ProprioceptionConfig(convention=CONVENTION, state_names=names, width=4))
    size = control_size(CONVENTION, stride=2, state_size=2, imagined_state=True)
    statistics = replace(
        start.controls.statistics, imagined_state=True, mean=(0.0,) * size, std=(1.0,) * size
    )
    other = replace(start, controls=ControlEncoder(statistics, arm))
    assert not other.same_controls(lift_dataset, stride=2)
    arm.config = replace(arm.config, state_names=lift_dataset.spec.state_names)
    assert other.same_controls(lift_dataset, stride=2)
