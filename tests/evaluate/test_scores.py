import numpy as np
import pytest

from roboscape.evaluate.scores import known_mean, measure


def test_unknown_frames_do_not_count_in_a_mean():
    scores = np.array([[[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]]])
    assert known_mean(scores, axis=2)[0, 0] == 2.0
    assert np.isnan(known_mean(scores, axis=2)[0, 1])
    found = measure(scores)
    assert found is not None
    assert (found.estimate.mean, found.estimate.num_clips) == (2.0, 1)
    assert found.curve == (1.0, None, 3.0)


def test_a_headline_frame_is_the_one_that_is_named():
    found = measure(np.arange(8.0).reshape(1, 2, 4), at_frame=4)
    assert found is not None
    assert found.estimate.mean == pytest.approx(5.0)
