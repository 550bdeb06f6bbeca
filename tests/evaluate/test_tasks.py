import numpy as np

from roboscape.evaluate.tasks import Outcome, count_outcomes, decided_clips, unseen


def outcome(*, happened: bool = False, visible: str = "1111") -> Outcome:
    return Outcome(happened=happened, visible=np.array([mark == "1" for mark in visible]))


UP, DOWN, GONE = outcome(happened=True), outcome(), outcome(visible="1000")


def test_counts_by_hand():
    found = count_outcomes(
        [UP, UP, DOWN, DOWN, DOWN, DOWN],
        [UP, DOWN, UP, DOWN, GONE, UP],
        decided=np.array([True, True, True, True, True, False]),
    )
    assert (found.in_both, found.only_in_truth) == (1, 1)
    assert (found.only_in_shown, found.in_neither) == (1, 1)
    assert found.unseen == 1
    assert found.agreement == 2 / 5
    assert found.visible == 15 / 18


def test_several_seeds_count_every_clip_once_a_seed():
    found = count_outcomes([UP, DOWN], [UP, DOWN, DOWN, DOWN], decided=np.array([True, True]))
    assert (found.in_both, found.only_in_truth, found.in_neither) == (1, 1, 2)
    assert found.agreement == 3 / 4


def test_nothing_decided_is_no_agreement():
    assert count_outcomes([UP], [UP], decided=np.array([False])).agreement == 0.0


def test_an_object_is_lost_if_less_than_half_of_the_frames_that_show_the_true_one_show_it():
    assert unseen(DOWN, outcome(visible="1010"))
    assert not unseen(outcome(visible="1110"), outcome(visible="1010"))
    # What is seen to happen is seen enough; hidden in truth as well is not lost.
    assert not unseen(UP, outcome(happened=True, visible="0001"))
    assert not unseen(outcome(visible="1000"), GONE)
    assert unseen(outcome(visible="1110"), outcome(visible="1000"))


def test_clips_count_where_rule_and_recording_agree_and_the_object_is_seen():
    true = [UP, UP, DOWN, GONE]
    rewarded = np.array([True, False, False, False])
    assert decided_clips(true, rewarded).tolist() == [True, False, True, False]
    assert decided_clips(true, None).tolist() == [True, True, True, False]
