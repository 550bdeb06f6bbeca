"""How well tokenizers show recordings that they were not trained on, alone and with a given frame.

    python benchmarks/transfer/unseen_scenes.py --tokenizers general/tokenizer lift/tokenizer \
        --dataset data/general_raw/droid --episodes 5 6

Prints, for every tokenizer, the mean PSNR of the episodes' frames (all cameras) decoded from their
own tokens, without and with the first frame of the episode in the decoder's view, beside a still
picture's; intervals resample episodes (95 %).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8

from roboscape.clips.reader import ClipReader
from roboscape.dataset.depth_choice import NONE
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.statistics import estimate
from roboscape.tokenizer.losses import psnr
from roboscape.tokenizer.model import Tokenizer, rgb_to_image


@dataclass(frozen=True, kw_only=True)
class UnseenScenes:
    """What to measure."""

    tokenizers: tuple[str, ...]
    """Names, folders or hub names."""
    dataset: Path
    """LeRobot dataset with images of the tokenizers' size."""
    episodes: tuple[int, ...] = ()
    """Those that are measured; all where none is named."""
    stride: int = 1
    """Rows from one frame to the next."""
    frames: int = 61
    """Of an episode at most, from its first."""


def main(config: UnseenScenes) -> None:
    """Print a row a tokenizer."""
    dataset = LeRobotDataset(config.dataset)
    cameras = tuple(camera.name for camera in dataset.spec.cameras)
    reader = ClipReader(
        dataset=dataset, cameras=cameras, length=None, stride=config.stride, depth=NONE
    )
    videos: list[tuple[int, UInt8[np.ndarray, "t h w 3"]]] = []
    for episode in config.episodes or range(dataset.num_episodes):
        clip = reader.read(episode)
        videos += [(episode, clip.frames[camera][: config.frames]) for camera in cameras]
    episodes = np.array([episode for episode, _ in videos])
    print(f"{len(videos)} videos of {len(set(episodes.tolist()))} episodes of {config.dataset}")
    still = [scores(video, shown=np.repeat(video[:1], len(video), axis=0)) for _, video in videos]
    print(f"{'still picture':40} {told(still, episodes)}")
    for name in config.tokenizers:
        tokenizer = Tokenizer.from_pretrained(name)
        for given in (False, True) if tokenizer.config.given_frame else (False,):
            found = [scores(v, shown=through(tokenizer, v, given=given)) for _, v in videos]
            what = f"{name}{', given frame in view' if given else ''}"
            print(f"{what:40} {told(found, episodes)}")


@torch.inference_mode()
def through(
    tokenizer: Tokenizer, video: UInt8[np.ndarray, "t h w 3"], *, given: bool
) -> UInt8[np.ndarray, "t h w 3"]:
    """A video, encoded and decoded."""
    frames = torch.from_numpy(video)
    first = tokenizer.given_rgb(frames[:1]) if given else None
    return tokenizer.decode_rgb(tokenizer.encode_rgb(frames), first).numpy()


def scores(
    video: UInt8[np.ndarray, "t h w 3"], *, shown: UInt8[np.ndarray, "t h w 3"]
) -> Float[np.ndarray, ""]:
    """Mean PSNR of the frames after the first, dB."""
    truth, found = (rgb_to_image(torch.from_numpy(x[1:])) for x in (video, shown))
    return np.asarray(psnr(found, truth).mean())


def told(found: list[Float[np.ndarray, ""]], episodes: np.ndarray) -> str:
    """A mean with its interval."""
    known = estimate(np.array(found)[None], episodes=episodes)
    assert known is not None
    return f"{known.mean:.2f} dB ({known.low:.2f} to {known.high:.2f})"


if __name__ == "__main__":
    main(tyro.cli(UnseenScenes))
