import numpy as np
import pytest

from roboscape.evaluate.control import (
    delta_psnr_db,
    partner_clips,
    partners,
    random_actions,
)


def test_a_model_that_ignores_its_actions_scores_zero():
    generator = np.random.default_rng(0)
    truth, imagined = generator.integers(0, 256, (2, 1, 3, 8, 8, 3), dtype=np.uint8)
    score = delta_psnr_db(truth, with_true_actions=imagined, with_other_actions=imagined)
    assert (score == 0).all()


def test_delta_psnr_by_hand():
    truth = np.full((1, 2, 8, 8, 3), 100, np.uint8)
    score = delta_psnr_db(truth, with_true_actions=truth + 5, with_other_actions=truth + 50)
    assert score == pytest.approx(np.full((1, 2), 20.0))


@pytest.mark.parametrize("num_clips", [2, 3, 17])
def test_every_clip_gets_the_actions_of_another_and_each_is_used_once(num_clips: int):
    partner = partners(num_clips, seed=3)
    assert sorted(partner) == list(range(num_clips))
    assert (partner != np.arange(num_clips)).all()
    assert (partners(num_clips, seed=3) == partner).all()


def test_one_clip_has_no_partner():
    with pytest.raises(ValueError, match="at least 2"):
        partners(1, seed=0)


def test_random_actions_are_of_the_pool_and_held_for_a_model_frame():
    pool = np.arange(20, dtype=np.float32).reshape(10, 2)
    actions = random_actions(pool, num_frames=5, stride=4, seed=0, clip=1)
    assert actions.shape == (20, 2)
    held = actions.reshape(5, 4, 2)
    assert (held == held[:, :1]).all()
    assert all(row.tolist() in pool.tolist() for row in actions)
    assert not np.array_equal(actions, random_actions(pool, num_frames=5, stride=4, seed=0, clip=2))


@pytest.mark.parametrize("counts", [(3, 3), (5, 3), (1, 4, 2), (1, 1, 1)])
def test_clips_of_one_episode_get_the_actions_of_one_other(counts):
    episodes = [10 + number for number, count in enumerate(counts) for _ in range(count)]
    partner = partner_clips(episodes, seed=3)
    found = {}
    for clip, other in enumerate(partner):
        assert episodes[other] != episodes[clip]
        found.setdefault(episodes[clip], set()).add(episodes[other])
    assert all(len(others) == 1 for others in found.values())
    assert sorted(other for (other,) in found.values()) == sorted(set(episodes))
    if set(counts) == {1}:
        assert partner.tolist() == partners(len(counts), seed=3).tolist()
