import numpy as np
import pytest

from roboscape.clips.curriculum import NOT_GRADED, Curriculum, CurriculumConfig, grade_of

RANGES = ((0, 6), (1, 15), (2, 30), (0, 4), (NOT_GRADED, 5))
"""Grade and number of clips: 10 easy, 20 medium, 30 hard."""
GRADES = np.repeat(*zip(*((1 if g == NOT_GRADED else g, n) for g, n in RANGES), strict=True))
ENDS = np.cumsum([count for _, count in RANGES])
EASY_FIRST = CurriculumConfig(first=(1.0, 0.0, 0.0), second=(0.0, 1.0, 3.0), blend_share=0.2)


def curriculum(seed: int = 0) -> Curriculum:
    grades = np.array([grade for grade, _ in RANGES])
    return Curriculum(grades, ENDS, steps=100, seed=seed, config=EASY_FIRST)


def drawn_grades(step: int) -> np.ndarray:
    return GRADES[curriculum().sample(step, size=4000)]


def test_easy_clips_come_first_then_hard_ones():
    assert set(drawn_grades(0)) == {0}
    late = np.bincount(drawn_grades(99), minlength=3) / 4000
    np.testing.assert_allclose(late, [0, 20 / 110, 90 / 110], atol=0.03)


def test_the_stages_blend_around_the_border():
    weights = [curriculum().grade_weights(step)[0] for step in (29, 30, 40, 50, 51)]
    np.testing.assert_allclose(weights, [1, 1, 0.5, 0, 0], atol=1e-9)


def test_clips_of_a_grade_are_drawn_alike_wherever_they_lie():
    counts = np.bincount(curriculum().sample(40, size=60_000), minlength=60) / 60_000
    weights = curriculum().grade_weights(40)[GRADES]
    np.testing.assert_allclose(counts, weights / weights.sum(), atol=0.004)


def test_draws_are_a_function_of_seed_and_step_alone():
    straight = [curriculum().sample(step, size=8) for step in range(20)]
    resumed = curriculum()
    for step in reversed(range(20)):
        np.testing.assert_array_equal(resumed.sample(step, size=8), straight[step])
    assert not np.array_equal(curriculum(1).sample(3, size=8), straight[3])
    assert not np.array_equal(straight[3], straight[4])


def test_a_stage_that_could_draw_nothing_is_refused():
    with pytest.raises(ValueError, match=r"'easy': 0, 'medium': 0, 'hard': 5.*\(1.0, 0.0, 0.0\)"):
        Curriculum(np.array([2]), np.array([5]), steps=10, seed=0, config=EASY_FIRST)
    with pytest.raises(ValueError, match="not all 0"):
        CurriculumConfig(first=(0.0, 0.0, 0.0))


def test_clips_that_nobody_graded_are_no_curriculum():
    with pytest.raises(ValueError, match=r"roboscape clips.*--curriculum\.no-on"):
        Curriculum(np.array([NOT_GRADED]), np.array([5]), steps=10, seed=0)
    assert [grade_of(word) for word in ("easy", "hard", "")] == [0, 2, NOT_GRADED]


def test_the_first_stage_draws_only_easy_clips_unless_told_otherwise():
    one = Curriculum(np.array([2, 0, 1]), np.array([40, 50, 90]), steps=100, seed=0)
    early = np.concatenate([one.sample(step, size=16) for step in range(35)])
    assert ((early >= 40) & (early < 50)).all()
    late = np.concatenate([one.sample(step, size=16) for step in range(60, 100)])
    assert (late < 40).any() and (late >= 50).any()
