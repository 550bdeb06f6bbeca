"""Our judge as a reward model of lerobot gives the probability that it gives here.

Runs inside `.venv-lerobot` (`make test-lerobot`); roboscape's half runs as processes of `.venv`.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.lerobot

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = os.environ.get("ROBOSCAPE_PYTHON", str(REPOSITORY / ".venv/bin/python"))
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{REPOSITORY / 'src'}:{os.environ.get('PYTHONPATH', '')}",
}
IMAGE = "observation.images.agentview"
DEPTH = f"{IMAGE}_depth"
STRIDE = 4
JUDGED = """
import sys
from pathlib import Path
import numpy as np
from roboscape.dataset.reader import LeRobotDataset
from roboscape.judge.classifier import ClassifierJudge
from roboscape.simulators.protocol import Observation

dataset, found = LeRobotDataset(Path(sys.argv[1])), []
rows = range(dataset.episode_info(0).length)
rgb = dataset.frames(0, "agentview")
depth_m = dataset.depth_m(0, "agentview")

def seen(row):
    return Observation(
        rgb={"agentview": rgb[row : row + 1]},
        depth_m={"agentview": depth_m[row : row + 1]},
        state=np.zeros((1, 0), np.float32),
    )

for row in rows:
    judge = ClassifierJudge.from_pretrained()
    judge.reset(seen(max(row - 4, 0)), where=np.ones(1, bool))
    found.append(judge.verdict(seen(row)).probability[0])
np.save(sys.argv[2], np.array(found))
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A recorded Lift episode, and our judge's probability of success in each row."""
    root = tmp_path_factory.mktemp("judge")
    words = (
        *("collect", "lift", "--output", root / "lift", "--episodes", 1, "--horizon", 60),
        *("--seed", 5, "--workers", 1, "--proportions.expert", 1, "--proportions.miss", 0),
        *("--proportions.noisy-expert", 0, "--proportions.random", 0),
    )
    subprocess.run([OURS, "-m", "roboscape.cli", *map(str, words)], check=True, env=ENVIRONMENT)
    command = [OURS, "-c", JUDGED, str(root / "lift"), str(root / "judged.npy")]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    return root / "lift", np.load(root / "judged.npy")


@pytest.fixture(scope="module", autouse=True)
def _plugin():
    from lerobot.configs.parser import load_plugin

    load_plugin("roboscape.policies.lerobot.plugin")


def judge(*, depth_unit="m"):
    """The bundled judge, as lerobot's factory makes it."""
    from lerobot.rewards.factory import make_reward_model, make_reward_model_config

    config = make_reward_model_config("roboscape_judge", device="cpu", depth_unit=depth_unit)
    return make_reward_model(config)


def batch_of(dataset, rows):
    from torch.utils.data import default_collate

    items = [dataset[row] for row in rows]
    return default_collate([{key: item[key] for key in (IMAGE, DEPTH)} for item in items])


@pytest.fixture(scope="module")
def batch(recorded):
    """Seven rows of the episode, as lerobot's dataset gives them to this judge."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    back = judge().config.observation_delta_indices
    assert back == [-STRIDE, 0]
    dataset = LeRobotDataset(
        "test/lift",
        root=recorded[0],
        video_backend="pyav",
        depth_output_unit="m",
        delta_timestamps={key: [row / 20 for row in back] for key in (IMAGE, DEPTH)},
    )
    return batch_of(dataset, ROWS)


ROWS = (0, 2, 10, 20, 30, 45, 59)


def test_a_reward_is_the_probability_that_our_judge_gives(recorded, batch):
    expected = np.nan_to_num(recorded[1][list(ROWS)])
    assert expected.min() < 0.2
    assert expected.max() > 0.8
    rewards = judge().compute_reward(batch)
    assert rewards.shape == (len(ROWS),)
    np.testing.assert_allclose(rewards.numpy(), expected, atol=1e-4)


def test_lerobots_processors_leave_the_batch_as_it_is(batch):
    from lerobot.rewards.factory import make_reward_pre_post_processors

    model = judge()
    before, _ = make_reward_pre_post_processors(model.config)
    rewards = model.compute_reward(before(batch))
    np.testing.assert_array_equal(rewards, model.compute_reward(batch))


def test_the_oldest_frame_is_repeated_where_there_are_fewer(batch):
    one = {key: value[:, -1] for key, value in batch.items()}
    two = {key: value[:, [-1, -1]] for key, value in batch.items()}
    three = {key: value[:, [0, 0, 1]] for key, value in batch.items()}
    model = judge()
    np.testing.assert_array_equal(model.compute_reward(one), model.compute_reward(two))
    np.testing.assert_array_equal(model.compute_reward(three), model.compute_reward(batch))
    assert (model.compute_reward(one) != model.compute_reward(batch)).any()


def test_depth_may_be_in_whole_millimetres_as_lerobot_gives_it_by_default(batch):
    from roboscape.policies.lerobot.plugin.configuration_judge import RoboscapeJudgeConfig

    assert RoboscapeJudgeConfig(device="cpu").depth_unit == "mm"
    rewards = judge(depth_unit="mm").compute_reward(batch | {DEPTH: (1000 * batch[DEPTH]).round()})
    np.testing.assert_allclose(rewards, judge().compute_reward(batch), atol=1e-3)


def test_what_is_not_known_is_no_reward(batch):
    model = judge()
    assert model.compute_reward(batch).max() > 0.8
    model.network.head[-1].bias[1] = -1e3  # The logit of a visible object.
    np.testing.assert_array_equal(model.compute_reward(batch), np.zeros(len(ROWS)))


def test_a_folder_that_lerobot_saved_holds_the_whole_judge(batch, tmp_path):
    from lerobot.configs.rewards import RewardModelConfig
    from lerobot.rewards.factory import get_reward_model_class, make_reward_model

    from roboscape.core.errors import UserError

    model = judge()
    model.save_pretrained(tmp_path)
    again = get_reward_model_class("roboscape_judge").from_pretrained(tmp_path)
    assert again.config.judge == ""
    assert model.config.judge == "lift-judge"
    np.testing.assert_array_equal(again.compute_reward(batch), model.compute_reward(batch))
    empty = make_reward_model(RewardModelConfig.from_pretrained(tmp_path))
    with pytest.raises(UserError, match="no weights"):
        empty.compute_reward(batch)


WRONG = {
    "no depth": (lambda batch: {IMAGE: batch[IMAGE]}, "_depth, got nothing"),
    "normalised": (lambda batch: batch | {IMAGE: 2 * batch[IMAGE] - 1}, "0 to 1"),
    "not finite": (lambda batch: batch | {DEPTH: batch[DEPTH] * np.nan}, "finite"),
    "another size": (lambda batch: {k: v[..., ::2, ::2] for k, v in batch.items()}, "128 x 128"),
    "channels last": (lambda batch: batch | {IMAGE: batch[IMAGE].movedim(2, -1)}, "3 channels"),
    "other frames": (lambda batch: batch | {DEPTH: batch[DEPTH][:, :1]}, "as many images"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_batch_is_refused(batch, name):
    from roboscape.core.errors import UserError

    change, words = WRONG[name]
    with pytest.raises(UserError, match=words):
        judge().compute_reward(change(batch))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"depth_unit": "cm"}, "m or mm"), ({"dataset_hz": 12.0}, "5 frames a second")],
)
def test_a_dataset_that_does_not_fit_is_refused(options, words):
    from roboscape.policies.lerobot.plugin.configuration_judge import RoboscapeJudgeConfig

    with pytest.raises(ValueError, match=words):
        RoboscapeJudgeConfig(device="cpu", **options)
