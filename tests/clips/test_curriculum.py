import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboscape.clips.curriculum import Curriculum, CurriculumConfig, grades_of_clips

GRADES = np.array([0] * 10 + [1] * 20 + [2] * 30)
EASY_FIRST = CurriculumConfig(first=(1.0, 0.0, 0.0), second=(0.0, 1.0, 3.0), blend_share=0.2)


def curriculum(seed: int = 0) -> Curriculum:
    return Curriculum(GRADES, steps=100, seed=seed, config=EASY_FIRST)


def drawn_grades(step: int) -> np.ndarray:
    return GRADES[curriculum().sample(step, size=4000)]


def test_easy_clips_come_first_then_hard_ones():
    assert set(drawn_grades(0)) == {0}
    late = np.bincount(drawn_grades(99), minlength=3) / 4000
    np.testing.assert_allclose(late, [0, 20 / 110, 90 / 110], atol=0.03)


def test_the_stages_blend_around_the_border():
    weights = [curriculum().grade_weights(step)[0] for step in (29, 30, 40, 50, 51)]
    np.testing.assert_allclose(weights, [1, 1, 0.5, 0, 0], atol=1e-9)


def test_weights_are_the_probabilities_that_are_drawn():
    weights = curriculum().weights(40)
    assert weights.sum() == pytest.approx(1) and weights.shape == GRADES.shape
    counts = np.bincount(curriculum().sample(40, size=60_000), minlength=60) / 60_000
    np.testing.assert_allclose(counts, weights, atol=0.004)


def test_draws_are_a_function_of_seed_and_step_alone():
    straight = [curriculum().sample(step, size=8) for step in range(20)]
    resumed = curriculum()
    for step in reversed(range(20)):
        np.testing.assert_array_equal(resumed.sample(step, size=8), straight[step])
    assert not np.array_equal(curriculum(1).sample(3, size=8), straight[3])
    assert not np.array_equal(straight[3], straight[4])


def test_a_stage_that_could_draw_nothing_is_refused():
    with pytest.raises(ValueError, match=r"'easy': 0, 'medium': 0, 'hard': 5.*\(1.0, 0.0, 0.0\)"):
        Curriculum(np.full(5, 2), steps=10, seed=0, config=EASY_FIRST)
    with pytest.raises(ValueError, match="not all 0"):
        CurriculumConfig(first=(0.0, 0.0, 0.0))


def test_clips_between_indexed_ones_share_their_grade(tmp_path):
    for name, difficulty in (("a", ["easy", "", "hard"]), ("b", ["hard", "hard", "easy"])):
        table = {"episode": [0, 0, 2], "start": [0, 16, 0], "difficulty": difficulty}
        (tmp_path / name / "annotations").mkdir(parents=True)
        pq.write_table(pa.table(table), tmp_path / name / "annotations" / "clips.parquet")
    episodes = pa.table({"dataset": [0, 0, 0, 1, 1], "episode": [0, 1, 2, 0, 2]})
    pq.write_table(episodes, tmp_path / "episodes.parquet")
    found = grades_of_clips(
        tmp_path / "episodes.parquet",
        datasets=(tmp_path / "a", str(tmp_path / "b")),
        episode=np.array([0, 0, 0, 1, 2, 3, 4]),
        start=np.array([0, 15, 16, 3, 9, 40, 2]),
    )
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 0]


def test_a_dataset_without_an_index_is_told_what_to_run(tmp_path):
    pq.write_table(pa.table({"dataset": [0], "episode": [0]}), tmp_path / "episodes.parquet")
    with pytest.raises(ValueError, match="roboscape clips"):
        grades_of_clips(
            tmp_path / "episodes.parquet",
            datasets=(tmp_path / "a",),
            episode=np.zeros(1, int),
            start=np.zeros(1, int),
        )
