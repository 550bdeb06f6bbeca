from pathlib import Path

import av
import numpy as np
import pytest

from roboscape.core.video import (
    KEY_FRAME_EVERY,
    VideoWriter,
    count_frames,
    iterate_video,
    read_frames,
    write_video,
)


def smooth_frames(count: int, *, height: int = 32, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([x * 4 + t, y * 5 + t, (x + y) * 2], -1) % 256 for t in range(count)]
    return np.stack(frames).astype(np.uint8)


def random_codes(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (count, 32, 48)).astype(np.uint16)


def key_frames(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
        return [number for number, packet in enumerate(packets) if packet.is_keyframe]


def write(path: Path, pieces: list[np.ndarray], *, pixels: str = "rgb", fps: float = 20.0) -> None:
    with VideoWriter(path, fps=fps, height=32, width=48, pixels=pixels) as writer:
        for piece in pieces:
            writer.write(piece)


def test_codes_come_back_bit_for_bit(tmp_path: Path) -> None:
    codes = random_codes(25)
    path = tmp_path / "depth.mp4"
    write(path, [codes[:7], codes[7:]], pixels="codes")
    read = read_frames(path, fps=20.0, wanted=range(25), pixels="codes")
    assert np.array_equal(read, codes)


def test_colours_come_back_nearly(tmp_path: Path) -> None:
    frames = np.full((12, 32, 48, 3), (200, 60, 20), np.uint8)
    write(tmp_path / "rgb.mp4", [frames])
    read = read_frames(tmp_path / "rgb.mp4", fps=20.0, wanted=range(12))
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - frames).max() <= 4


@pytest.mark.parametrize("pixels", ["rgb", "codes"])
@pytest.mark.parametrize("fps", [5.0, 20.0, 30.0, 29.97, 12.5])
def test_any_range_equals_the_whole(tmp_path: Path, pixels: str, fps: float) -> None:
    frames = smooth_frames(43) if pixels == "rgb" else random_codes(43)
    path = tmp_path / "video.mp4"
    write(path, [frames[:17], frames[17:]], pixels=pixels, fps=fps)
    whole = np.stack(list(iterate_video(path, pixels=pixels)))
    assert len(whole) == 43
    for wanted in (range(43), range(1), range(42, 43), range(16, 18), range(9, 40, 4)):
        read = read_frames(path, fps=fps, wanted=wanted, pixels=pixels)
        assert np.array_equal(read, whole[wanted.start : wanted.stop : wanted.step])


@pytest.mark.parametrize("pixels", ["rgb", "codes"])
def test_every_piece_starts_with_a_key_frame(tmp_path: Path, pixels: str) -> None:
    frames = smooth_frames(30) if pixels == "rgb" else random_codes(30)
    path = tmp_path / "video.mp4"
    write(path, [frames[:7], frames[7:]], pixels=pixels)
    assert key_frames(path) == [0, 7, 7 + KEY_FRAME_EVERY, 7 + 2 * KEY_FRAME_EVERY]


def test_odd_sizes_are_padded_by_write_video(tmp_path: Path) -> None:
    write_video(tmp_path / "new" / "odd.mp4", smooth_frames(3, height=31, width=47), fps=10.0)
    (first, *_) = iterate_video(tmp_path / "new" / "odd.mp4")
    assert first.shape == (32, 48, 3)


def test_frames_of_another_shape_are_refused(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "a.mp4", fps=20.0, height=32, width=48) as writer,
        pytest.raises(ValueError, match="takes uint8 frames of shape"),
    ):
        writer.write(np.zeros((1, 32, 40, 3), np.uint8))


def test_odd_sizes_are_refused_by_the_writer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even height and width"):
        VideoWriter(tmp_path / "a.mp4", fps=20.0, height=31, width=48)


def test_a_video_that_ends_too_early_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write(path, [smooth_frames(10)])
    with pytest.raises(ValueError, match=r"short\.mp4 ends too early.*10 of 12"):
        read_frames(path, fps=20.0, wanted=range(12))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    write(path, [smooth_frames(10)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (lambda: read_frames(path, fps=20.0, wanted=range(5)), lambda: count_frames(path)):
        with pytest.raises(ValueError, match=r"cut\.mp4 cannot be decoded.*truncated"):
            read()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a video at .*gone\.mp4, found none"):
        read_frames(tmp_path / "gone.mp4", fps=20.0, wanted=range(5))


def test_colour_is_not_read_as_depth(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    write(path, [smooth_frames(3)])
    with pytest.raises(ValueError, match="12-bit grey pixels, got yuv420p"):
        read_frames(path, fps=20.0, wanted=range(3), pixels="codes")


def test_no_frames_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    write(path, [smooth_frames(3)])
    with pytest.raises(ValueError, match="at least one frame"):
        read_frames(path, fps=20.0, wanted=range(3, 3))
