"""The film of every episode while it runs, and signs that its video is not to be trusted.

A hallucination need not look wrong to a model that is sure of it. Two signs need no label:

- *confidence*: the mean probability of the tokens that were chosen;
- *re-tokenised loss over motion*: what an imagined frame loses when it goes once more through the
  tokenizer, as a multiple of what changes from frame to frame. A tokenizer gives back what it was
  trained on, and loses what it never saw.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from roboscape.policies.episodes import NONE
from roboscape.simulators.protocol import Mask, Observation
from roboscape.simulators.success import Success
from roboscape.tokenizer.model import Tokenizer

LEAST_MOTION = 0.002
"""Mean change of a pixel between frames, as a share of the full range, below which all counts as
standing still (half a level of 255)."""


@dataclass(kw_only=True)
class Watched:
    """One episode, as far as it went."""

    frames: list[UInt8[np.ndarray, "h w 3"]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Of frames that went through the tokenizer again: mean error of a pixel, of the full range."""

    @property
    def film(self) -> UInt8[np.ndarray, "t h w 3"]:
        """Its video."""
        return np.stack(self.frames)

    @property
    def motion(self) -> float:
        """Mean change of a pixel from frame to frame, as a share of the full range."""
        if len(self.frames) < 2:
            return 0.0
        levels = self.film.astype(np.float32)
        return float(np.abs(np.diff(levels, axis=0)).mean() / 255)

    @property
    def loss_over_motion(self) -> float:
        """Mean loss in multiples of the motion; 0 where no frame was tokenised again."""
        if not self.losses:
            return 0.0
        return float(np.mean(self.losses)) / max(self.motion, LEAST_MOTION)


class Watcher:
    """Collects the frames of every episode; a `Watch` of `run_episodes`."""

    def __init__(
        self, camera: str, *, tokenizer: Tokenizer | None = None, check_every: int = 4
    ) -> None:
        """Watch a camera.

        Args:
            camera: whose images are kept.
            tokenizer: what imagined frames go through once more; None: nothing is imagined.
            check_every: every so many frames of an episode.
        """
        self._camera, self._tokenizer, self._every = camera, tokenizer, check_every
        self.episodes: dict[int, Watched] = {}
        """Those that are running, or have just ended, by number."""

    def __call__(self, observation: Observation, numbers: Int[np.ndarray, " b"]) -> None:
        """Keep a frame of every world that has an episode."""
        images = observation.rgb[self._camera]
        due = []
        for world in np.flatnonzero(numbers != NONE).tolist():
            watched = self.episodes.setdefault(int(numbers[world]), Watched())
            if watched.frames and len(watched.frames) % self._every == 0:
                due.append(world)
            watched.frames.append(images[world].copy())
        if due and self._tokenizer is not None:
            self._check(self._tokenizer, [self.episodes[int(numbers[world])] for world in due])

    @torch.no_grad()
    def _check(self, tokenizer: Tokenizer, episodes: list[Watched]) -> None:
        """Send the newest frames of some episodes through the tokenizer again."""
        newest = torch.from_numpy(np.stack([one.frames[-1] for one in episodes]))
        first = torch.from_numpy(np.stack([one.frames[0] for one in episodes]))
        codes = tokenizer.encode_rgb(newest.to(tokenizer.device))
        again = tokenizer.decode_rgb(codes, tokenizer.given_rgb(first)).cpu().float()
        for one, loss in zip(episodes, retokenised_loss(newest, again), strict=True):
            one.losses.append(loss)

    def take(self, number: int) -> Watched:
        """An episode that has ended, which is then forgotten."""
        return self.episodes.pop(number)


def retokenised_loss(frames: torch.Tensor, again: torch.Tensor) -> list[float]:
    """Mean absolute error of every frame, as a share of the full range."""
    return ((frames.float() - again).abs().flatten(1).mean(dim=1) / 255).tolist()


class TrueWithRule:
    """In true worlds: the simulator's own success, and beside it what a rule says of the video.

    An episode that is solved goes on for a moment, for the rule may ask for more than the
    simulator. A `Success`.
    """

    def __init__(self, rule: Success, *, grace_frames: int) -> None:
        self._rule, self._grace = rule, grace_frames
        self.solved: Bool[np.ndarray, " b"] = np.zeros(0, bool)
        """Whether the simulator counted each world's episode as solved, in any frame."""
        self.by_rule: Bool[np.ndarray, " b"] = np.zeros(0, bool)
        """Whether the rule did."""
        self._since: Float[np.ndarray, " b"] = np.zeros(0)

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Begin the episodes of the chosen worlds."""
        if len(self.solved) != len(where):
            self.solved, self.by_rule = np.zeros((2, len(where)), bool)
            self._since = np.zeros(len(where))
        self._rule.reset(observation, where=where)
        self.solved, self.by_rule = self.solved & ~where, self.by_rule & ~where
        self._since = np.where(where, 0, self._since)

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds nothing more is to be waited for."""
        assert observation.success is not None
        self._since = self._since + self.solved
        self.solved = self.solved | observation.success
        self.by_rule = self.by_rule | self._rule(observation)
        return self.solved & (self.by_rule | (self._since >= self._grace))
