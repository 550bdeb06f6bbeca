"""`roboscape rollout`: imagine one episode and write it beside the truth as a video."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float, UInt8
from PIL import Image

from roboscape.clips.reader import ClipReader
from roboscape.controls.signals import gripper_dimensions
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention
from roboscape.evaluate.panels import (
    LAST_FRAME_HOLD_S,
    draw_side_by_side,
    make_columns,
    write_film,
)
from roboscape.evaluate.subjects import imagine_clips
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import Videos, cameras_of, decode_videos, stack_clips
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart

log = logging.getLogger(__name__)

GIF_COLOURS = 255
MOVIE_SUFFIXES = (".mp4", ".gif")


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a rollout: the episode, the row, the length, the actions."""

    episode: int = 0
    """Number of the episode in the dataset."""
    row: int = 0
    """The row of the episode whose frame is given, the last one where more are."""
    prompt_frames: int = 1
    """Given frames: that one and those before it, at the model's rate."""
    horizon: int = 15
    """Imagined frames; may go beyond the model's window and beyond the episode's end."""
    actions: Path | None = None
    """Actions to go on with after the recorded ones, at the native rate: a .npy file of shape
    (rows, action size). Without it the arm is commanded to hold still: no motion (of delta actions)
    or the last pose (of absolute ones), the gripper as last commanded."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras that are the bundle's views, in its order; those of its training where
    none is named."""
    seed: int = 0
    """Seed of the drawn tokens, at a temperature above 0."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Imagine an episode: truth | imagined | depth, truth | depth, imagined | error."""

    checkpoint: str = "lift"
    """Name (`lift` comes with the package), folder or hub name of a bundle."""
    dataset: Path
    """LeRobot dataset that the episode is of."""
    output: Path
    """The video to write, .mp4 or .gif."""
    start: Annotated[Start, tyro.conf.arg(name="")] = Start()
    """What is imagined."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = GREEDY
    """How tokens are chosen."""
    compute: Annotated[Compute, tyro.conf.arg(name="")] = PROBED
    """Where and in which format."""
    scale: int = 2
    """Side of the square that a pixel is drawn as."""


@dataclass(frozen=True, kw_only=True)
class ImaginedEpisode:
    """A rollout beside what was recorded."""

    truth: Videos
    """A batch of one; as many frames as the episode has, at most those that were imagined."""
    imagined: Videos
    """A batch of one; frame 0 is the given frame through the tokenizer."""
    frame_hz: float
    """Frames a second."""
    after_truth: str
    """Which actions the frames after the recording's end follow."""
    views: int = 1
    """Cameras whose images lie below each other in a frame."""


def imagine_episode(
    bundle: Bundle, dataset: LeRobotDataset, *, start: Start, sampling: Sampling = GREEDY
) -> ImaginedEpisode:
    """Imagine from frames of an episode under its recorded actions, and further where asked.

    Raises:
        ValueError: the start lies outside the episode, the given actions do not reach the horizon,
            or the model needs depth that the dataset does not have.
    """
    length = dataset.episode_info(start.episode).length
    if not 0 <= start.row < length or start.horizon < 1:
        raise UserError(
            f"expected --row 0 to {length - 1} and --horizon 1 or more, got {start.row} and "
            f"{start.horizon}"
        )
    stride = bundle.controls.stride
    cameras = cameras_of(bundle, dataset, asked=start.cameras)
    simulator = LearnedSimulator(
        bundle, cameras=cameras, sampling=sampling, seed=start.seed, decode="none"
    )
    simulator.reset(
        [
            EpisodeStart(
                dataset=dataset,
                episode=start.episode,
                row=start.row,
                prompt_frames=start.prompt_frames,
            )
        ]
    )
    actions = extend_actions(
        dataset.actions(start.episode)[start.row :],
        num_rows=start.horizon * stride,
        path=start.actions,
        convention=bundle.controls.convention,
    )
    truth = recorded_frames(dataset, start, cameras=cameras, stride=stride)
    codes = imagine_clips(simulator, actions[None])
    return ImaginedEpisode(
        truth=truth,
        imagined=decode_videos(bundle.tokenizer, codes, truth),
        frame_hz=simulator.spec.frame_hz,
        after_truth=(
            f"episode ended; actions from {start.actions.name}"
            if start.actions
            else "episode ended; arm commanded to hold still"
        ),
        views=len(cameras),
    )


def recorded_frames(
    dataset: LeRobotDataset, start: Start, *, cameras: tuple[str, ...], stride: int
) -> Videos:
    """The recording from the start on, up to the horizon or the episode's end."""
    length = dataset.episode_info(start.episode).length
    reader = ClipReader(
        dataset=dataset,
        cameras=cameras,
        length=min(start.horizon + 1, len(range(start.row, length, stride))),
        stride=stride,
        depth=depth_source(dataset, *cameras),
    )
    return stack_clips([reader.read(start.episode, start.row)], cameras)


def extend_actions(
    recorded: Float[np.ndarray, "n a"],
    *,
    num_rows: int,
    path: Path | None,
    convention: ActionConvention,
) -> Float[np.ndarray, "rows a"]:
    """`num_rows` actions: the recorded ones, then those of a file or, without, holding still."""
    missing = num_rows - len(recorded)
    if missing <= 0:
        return recorded[:num_rows]
    if path is None:
        return np.concatenate(
            [recorded, np.repeat(hold_still(recorded[-1], convention), missing, 0)]
        )
    given = np.load(path, allow_pickle=False)
    if given.ndim != 2 or given.shape[1] != recorded.shape[1] or len(given) < missing:
        raise UserError(
            f"{path} holds an array of shape {given.shape}; this rollout needs {missing} or more "
            f"rows of {recorded.shape[1]} numbers after the {len(recorded)} recorded actions. Give "
            "more rows, or a shorter --horizon"
        )
    return np.concatenate([recorded, given[:missing].astype(recorded.dtype)])


def hold_still(
    last: Float[np.ndarray, " a"], convention: ActionConvention
) -> Float[np.ndarray, "1 a"]:
    """The action that keeps the arm where it is and the gripper as it is."""
    if convention.mode == "absolute":
        return last[None]
    return np.where(gripper_dimensions(convention), last, 0)[None].astype(last.dtype)


def write_side_by_side(path: Path, found: ImaginedEpisode, *, scale: int = 2) -> None:
    """Write the five columns with captions as an .mp4 or a .gif.

    Raises:
        ValueError: another ending.
    """
    if path.suffix not in MOVIE_SUFFIXES:
        raise UserError(f"expected an output ending in .mp4 or .gif, got {path}")
    frames = draw_side_by_side(
        make_columns(found.truth, found.imagined, views=found.views),
        scale=scale,
        frame_hz=found.frame_hz,
        num_true=found.truth.rgb.shape[1],
        after_truth=found.after_truth,
    )
    write = write_gif if path.suffix == ".gif" else write_film
    write(path, frames, fps=found.frame_hz)


def write_gif(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, fps: float) -> None:
    """A looping GIF whose frames share one palette, so that still parts do not flicker."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    durations_ms = [round(1000 / fps)] * len(frames)
    durations_ms[-1] += round(1000 * LAST_FRAME_HOLD_S)
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary,
            save_all=True,
            append_images=pictures[1:],
            duration=durations_ms,
            loop=0,
            optimize=True,
        )


def run(config: Rollout) -> ImaginedEpisode:
    """Imagine, write the video, say where it is."""
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    dataset = LeRobotDataset(config.dataset)
    found = imagine_episode(bundle, dataset, start=config.start, sampling=config.sampling)
    write_side_by_side(config.output, found, scale=config.scale)
    log.info("%d frames imagined: %s", config.start.horizon, config.output)
    return found
