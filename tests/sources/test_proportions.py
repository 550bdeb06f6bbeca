import pytest

from roboscape.sources.proportions import Proportions, behaviour_of


def test_behaviours_come_in_their_proportions():
    proportions = Proportions()
    drawn = [behaviour_of(seed, proportions) for seed in range(2000)]
    for name, share in vars(proportions).items():
        assert drawn.count(name) / 2000 == pytest.approx(share, abs=0.04)
    only = Proportions(expert=0.0, noisy_expert=0.0, miss=2.0, random=0.0)
    assert {behaviour_of(seed, only) for seed in range(20)} == {"miss"}


@pytest.mark.parametrize("share", [-1.0, 0.0])
def test_impossible_proportions_are_refused(share):
    bad = Proportions(expert=share, noisy_expert=0.0, miss=0.0, random=0.0)
    with pytest.raises(ValueError, match="not all zero"):
        behaviour_of(0, bad)
