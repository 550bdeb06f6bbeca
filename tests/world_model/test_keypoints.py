import pytest
import torch

from roboscape.world_model.keypoints import (
    attention_map,
    cells_of,
    own_steps,
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


def panning_clip(*, pan, turn=0.0, zoom=1.0, objects=16, background=200, frames=6, seed=0):
    """A camera that pans, turns and zooms over a background with a few points that move on it.

    Returns tracks `1 t k 2` on a 16 x 16 grid, and which points are the object's.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(background, 2, generator=generator) * 16
    thing = 7 + 2 * torch.rand(objects, 2, generator=generator)
    frames_of = []
    for t in range(frames):
        # Against the pan: in the image the object moves less than the background does.
        moved = torch.cat([thing - 0.6 * t * torch.tensor(pan), places])
        seen = torch.view_as_complex((moved - 8).contiguous())
        seen = seen * torch.polar(torch.tensor(zoom**t), torch.tensor(turn * t))
        noise = 0.02 * torch.randn(len(moved), 2, generator=generator)
        frames_of.append(torch.view_as_real(seen) + 8 + t * torch.tensor(pan) + noise)
    return torch.stack(frames_of).unsqueeze(0), torch.arange(objects + background) < objects


@pytest.mark.parametrize(
    "camera",
    [{"pan": (0.7, 0.0)}, {"pan": (0.5, -0.3), "turn": 0.04}, {"pan": (0.4, 0.2), "zoom": 1.04}],
    ids=["pans", "turns", "zooms"],
)
def test_under_a_moving_camera_the_keypoints_lie_on_what_moves_by_itself(camera):
    tracks, on_object = panning_clip(**camera)
    raw = (tracks[0, 1:] - tracks[0, :-1]).norm(dim=-1).sum(dim=0)
    assert on_object[raw.argsort(descending=True)[:16]].float().mean() < 0.2
    visible = all_visible(tracks)
    inside = cells_of(tracks, grid=(16, 16))[1]
    found = path_lengths(tracks, visible & inside).masked_fill(~inside[:, 0], -1.0)
    assert on_object[found[0].argsort(descending=True)[:16]].float().mean() > 0.8
    keypoints = select_keypoints(tracks, visible, count=16, grid=(16, 16))
    y, x = keypoints.cells[0, 0] // 16, keypoints.cells[0, 0] % 16
    assert ((x - 7.5).abs() + (y - 7.5).abs() <= 2).float().mean() > 0.8


def test_every_clip_of_a_batch_has_its_own_camera():
    moving, _ = panning_clip(pan=(0.7, 0.0))
    resting, _ = panning_clip(pan=(0.0, 0.0), seed=1)
    together = torch.cat([moving, resting])
    alone = [path_lengths(clip, all_visible(clip)) for clip in (moving, resting)]
    torch.testing.assert_close(path_lengths(together, all_visible(together)), torch.cat(alone))


def test_points_that_are_not_seen_say_nothing_of_the_camera():
    tracks, _ = panning_clip(pan=(0.7, 0.0))
    seen = torch.rand(tracks.shape[:-1], generator=torch.Generator().manual_seed(3)) < 0.7
    wrong = torch.where(seen.unsqueeze(-1), tracks, 100.0)
    a, b = (own_steps(x[:, :-1], x[:, 1:], seen[:, 1:] & seen[:, :-1]) for x in (tracks, wrong))
    both = seen[:, 1:] & seen[:, :-1]
    torch.testing.assert_close(a[both], b[both])


def test_a_resting_camera_leaves_the_steps_as_they_are():
    tracks, _ = panning_clip(pan=(0.0, 0.0))
    tracks[:, :, :16] += 0.3 * torch.arange(6).reshape(1, 6, 1, 1)
    steps = own_steps(tracks[:, :-1], tracks[:, 1:], all_visible(tracks)[:, 1:])
    assert torch.equal(steps, (tracks[:, 1:] - tracks[:, :-1]).norm(dim=-1))


def test_each_view_has_a_motion_of_its_own():
    """A camera on a hand moves all its points; what moves in the other view is active still."""
    generator = torch.Generator().manual_seed(0)
    still = torch.rand(1, 1, 20, 2, generator=generator).expand(1, 6, 20, 2) * 4
    front = still.clone()
    front[:, :, 0, 0] += 0.3 * torch.arange(6)
    wrist = still + torch.tensor([0.5, 0.2]) * torch.arange(6).reshape(1, 6, 1, 1)
    wrist[..., 1] += 8
    tracks = torch.cat([front, wrist], dim=2)
    visible = torch.ones(tracks.shape[:3], dtype=torch.bool)
    found = select_keypoints(tracks, visible, count=1, grid=(8, 8), cameras=2)
    x, y = front[0, :, 0].floor().long().unbind(dim=-1)
    assert found.cells[0, :, 0].tolist() == (y * 8 + x).tolist()
    below = select_keypoints(tracks, visible, count=40, grid=(8, 8), cameras=2)
    assert below.cells.max() >= 64, "the second view's cells follow those of the first"
