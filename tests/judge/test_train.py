"""Training a judge: on recordings, on imagined frames, with its errors measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset
from roboscape.judge.data import check_alike, read_data
from roboscape.judge.examples import JudgeExamples, imagined_examples, recorded_examples
from roboscape.judge.measure import measured as measured_by
from roboscape.judge.measure import read_accuracy
from roboscape.judge.network import JudgeConfig, SuccessNetwork, frames_read
from roboscape.judge.settings import JudgeRun
from roboscape.judge.train import judge_config, run
from roboscape.simulators.learned import LearnedSimulator
from roboscape.training.learner import FitConfig

CONFIG = JudgeConfig(camera="front", image_size=64, input_size=32)


def test_no_frame_reads_across_the_beginning_of_its_episode(lift_dataset):
    found = recorded_examples(lift_dataset, [0, 1, 2], config=CONFIG, stride=4)
    # Two phases: every second row of 17, the past 4 rows back.
    assert len(found) == 27
    assert found.past[:4].tolist() == [[0, 0], [0, 1], [0, 2], [1, 3]]
    assert found.past[9:12].tolist() == [[9, 9], [9, 10], [9, 11]]
    np.testing.assert_array_equal(found.episode[found.past[:, 0]], found.episode)
    np.testing.assert_array_equal(
        found.success[9:18], lift_dataset.reward(1)[::2] > 0, "labels are the recorded rewards"
    )
    assert found.seen.all()


def test_imagined_frames_carry_the_truth_of_the_recorded_row(tiny_bundle, lift_dataset):
    simulator = LearnedSimulator(tiny_bundle, batch=2, cameras=("front",))
    found = imagined_examples(simulator, lift_dataset, [0, 1, 2], config=CONFIG, frames=5)
    assert found.episode.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    np.testing.assert_array_equal(found.success[5:10], lift_dataset.reward(1)[:10:2] > 0)
    given = recorded_examples(lift_dataset, [1], config=CONFIG, stride=2)
    np.testing.assert_array_equal(found.images[5], given.images[0])


def test_the_first_frame_stands_for_those_before_and_is_read_beside_the_last_ones():
    assert frames_read(3, config=CONFIG).tolist() == [[0, 0], [0, 1], [1, 2]]
    both = replace(CONFIG, reads_first=True)
    assert frames_read(4, config=both, spacing=2).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 2],
        [0, 1, 3],
    ]


def test_examples_are_read_back_as_they_were_written(lift_dataset, tmp_path):
    found = recorded_examples(lift_dataset, [0], config=CONFIG, stride=4)
    found.save(tmp_path / "some.npz")
    again = JudgeExamples.load(tmp_path / "some.npz")
    for name, value in vars(found).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_a_judge_learns_measures_itself_and_is_read_back(trained, validation):
    network, folder = trained
    accuracy = read_accuracy(folder, "recorded")
    assert accuracy.frames.accuracy > 0.85
    content = json.loads((folder / "accuracy.json").read_text())
    assert content["episodes"] == 2 and content["dataset"] == str(validation.root)
    again = SuccessNetwork.from_pretrained(folder)
    images = recorded_examples(validation, [3], config=again.config, stride=2)
    probability, _ = again.probabilities(images.take(np.arange(len(images))))
    same, _ = network.probabilities(images.take(np.arange(len(images))))
    np.testing.assert_array_equal(probability, same)
    with pytest.raises(ValueError, match="no errors on imagined frames"):
        read_accuracy(folder, "imagined")


def test_imagined_frames_are_measured_where_a_checkpoint_imagines(
    tiny_bundle, lift_train_dataset, validation, tmp_path
):
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    config = JudgeRun(
        dataset=(lift_train_dataset.root,),
        validation=(validation.root,),
        output=tmp_path / "run",
        checkpoint=str(tmp_path / "bundle"),
        imagined_frames=8,
        worlds=2,
        input_size=16,
        batch_size=4,
        device="cpu",
        fit=FitConfig(steps=2, log_every=1, evaluate_every=2, checkpoint_every=1),
    )
    run(config)
    assert read_accuracy(tmp_path / "run" / "judge", "imagined").frames is not None
    kept = {path.name for path in (tmp_path / "run").glob("*.npz")}
    assert kept == {
        f"{kind}_{part}_0.npz"
        for kind in ("recorded", "imagined")
        for part in ("training", "validation")
    }
    # Run again, it reads what it made and ends with the same judge.
    before = (tmp_path / "run" / "judge" / "model.safetensors").read_bytes()
    run(config)
    assert (tmp_path / "run" / "judge" / "model.safetensors").read_bytes() == before


def test_a_camera_that_is_not_there_is_refused(lift_dataset, tmp_path):
    config = JudgeRun(dataset=(lift_dataset.root,), output=tmp_path, camera="wrist")
    with pytest.raises(ValueError, match="depth of front, asked for was 'wrist'"):
        judge_config(config, lift_dataset)


def test_several_datasets_are_learnt_and_measured_together(
    lift_train_dataset, validation, tmp_path
):
    config = JudgeRun(
        dataset=(lift_train_dataset.root, validation.root),
        validation=(validation.root, validation.root),
        output=tmp_path,
        stride=2,
        input_size=16,
    )
    datasets = [LeRobotDataset(root) for root in config.dataset]
    held_out = [LeRobotDataset(root) for root in config.validation]
    data = read_data(config, datasets, held_out, shape=judge_config(config, datasets[0]))
    alone = recorded_examples(
        validation, [0, 1, 2, 3], config=judge_config(config, validation), stride=2
    )
    found = data.held_out["recorded"]
    assert len(found) == 2 * len(alone)
    # The second dataset's episodes are numbered after the first one's, and read their own frames.
    second = found.of(range(4, 8))
    np.testing.assert_array_equal(second, np.arange(len(alone), 2 * len(alone)))
    np.testing.assert_array_equal(found.take(second), alone.take(np.arange(len(alone))))
    assert sorted([*data.calibrating, *data.measuring]) == list(range(8))
    assert set(data.training.episode) == {0, 1}


def test_a_dataset_of_other_images_is_refused(lift_train_dataset):
    shape = replace(CONFIG, image_size=32)
    with pytest.raises(ValueError, match="depth of camera 'front' at 32 x 32"):
        check_alike(lift_train_dataset, shape)


def test_a_trained_judge_is_measured_again_and_not_trained(
    trained, tiny_bundle, validation, tmp_path
):
    network, folder = trained
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    config = JudgeRun(
        dataset=(validation.root,),
        output=tmp_path / "run",
        measure=str(folder),
        checkpoint=str(tmp_path / "bundle"),
        imagined_frames=8,
        worlds=2,
        device="cpu",
    )
    again = run(config)
    for name, weights in network.state_dict().items():
        assert (again.state_dict()[name] == weights).all()
    assert again.config == network.config
    measured = tmp_path / "run/judge"
    assert json.loads((measured / "accuracy.json").read_text())["episodes"] == 4
    # Of all four episodes, and as a measurement by hand has it.
    every = recorded_examples(validation, [0, 1, 2, 3], config=again.config, stride=2)
    by_hand = measured_by(again, every, episodes=range(4))
    assert read_accuracy(measured, "recorded") == by_hand
    assert read_accuracy(measured, "imagined").frames is not None
    with pytest.raises(ValueError, match=r"judges 10 frames a second, .* gives 5 here"):
        run(replace(config, output=tmp_path / "other", checkpoint=None, stride=4))
