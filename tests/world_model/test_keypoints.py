import torch

from roboscape.world_model.keypoints import (
    attention_map,
    cells_of,
    path_lengths,
    select_keypoints,
)

GRID = (2, 3)


def straight(*speeds, frames=3, start=(0.5, 0.5)):
    """One track per speed, in tokens per frame to the right: `b t k 2` with one clip."""
    time = torch.arange(frames).float()
    tracks = [torch.stack([start[0] + v * time, start[1] + 0 * time], dim=-1) for v in speeds]
    return torch.stack(tracks, dim=1).unsqueeze(0)


def all_visible(tracks):
    return torch.ones(tracks.shape[:-1], dtype=torch.bool)


def test_path_length_sums_steps_between_visible_ends():
    tracks = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0], [0.0, 5.0]]).reshape(1, 4, 1, 2)
    visible = all_visible(tracks)
    assert path_lengths(tracks, visible).item() == 5 + 1 + 3
    visible[0, 2] = False
    assert path_lengths(tracks, visible).item() == 5


def test_the_most_active_are_chosen():
    tracks = straight(0.0, 1.0, 0.1, 0.5)
    found = select_keypoints(tracks, all_visible(tracks), count=2, grid=GRID)
    assert found.cells[0].tolist() == [[0, 0], [1, 1], [2, 1]]
    assert found.valid.all()


def test_a_wanderer_that_returns_is_active():
    there_and_back = torch.tensor([[0.5, 0.5], [2.5, 0.5], [0.5, 0.5]])
    slow = straight(0.5)[0, :, 0]
    tracks = torch.stack([slow, there_and_back], dim=1).unsqueeze(0)
    found = select_keypoints(tracks, all_visible(tracks), count=1, grid=GRID)
    assert found.cells[0, :, 0].tolist() == [0, 2, 0]


def test_points_that_are_invisible_or_outside_drop_out():
    tracks = straight(1.0, 2.0)
    visible = all_visible(tracks)
    visible[0, 1, 0] = False
    found = select_keypoints(tracks, visible, count=2, grid=GRID)
    slow, fast = (list(found.cells[0, 2]).index(2), None)
    assert found.valid[0, :, slow].tolist() == [True, False, True]
    assert found.valid[0, :, 1 - slow].tolist() == [True, True, False]
    assert fast is None


def test_points_that_start_invisible_are_never_sampled():
    tracks = straight(1.0, 0.5)
    visible = all_visible(tracks)
    visible[0, 0, 0] = False
    one = select_keypoints(tracks, visible, count=1, grid=GRID)
    assert one.cells[0, :, 0].tolist() == [0, 1, 1]
    two = select_keypoints(tracks, visible, count=2, grid=GRID)
    assert two.valid.sum() == 3


def test_more_points_than_there_are():
    tracks = straight(1.0)
    found = select_keypoints(tracks, all_visible(tracks), count=8, grid=GRID)
    assert found.cells.shape == (1, 3, 1)


def test_cells_are_row_by_row_floors():
    cells, inside = cells_of(torch.tensor([[2.99, 1.0], [0.0, 0.0], [-0.01, 0], [0, 2]]), grid=GRID)
    assert cells.tolist() == [5, 0, 0, 0]
    assert inside.tolist() == [True, True, False, False]


def test_attention_map_is_gamma_on_the_tracks_and_one_elsewhere():
    tracks = straight(1.0, 2.0)
    found = select_keypoints(tracks, all_visible(tracks), count=2, grid=GRID)
    weights = attention_map(found, tokens=6, gamma=5.0)
    # Frame 0: both in cell 0. Frame 1: cells 1 and 2. Frame 2: cell 2, the other has left.
    assert weights[0].tolist() == [
        [5, 1, 1, 1, 1, 1],
        [1, 5, 5, 1, 1, 1],
        [1, 1, 5, 1, 1, 1],
    ]
