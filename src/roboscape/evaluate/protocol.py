"""The protocol of predictors: anything that predicts the next frames of a robot's camera.

A `Predictor` is asked for whole videos: pixels in, pixels out. A bundle is one, so are the floors,
and so is any model of one's own (`docs/evaluate-your-model.md`).

Axes: b clip, t frame (at the model's rate), h height, w width, r native row, s state dimension,
a action dimension.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention
from roboscape.rollout.videos import VideoCodes, Videos


@dataclass(frozen=True, kw_only=True)
class PredictorSpec:
    """The name of a predictor, the recordings that it works on, and its predictions."""

    name: str
    """How reports call it."""
    stride: int
    """Native rows from one frame to the next."""
    action: ActionConvention | None = None
    """What the numbers of its actions mean; None: it takes any."""
    state_names: tuple[str, ...] | None = None
    """The state's dimensions that it was trained with; None: it takes any."""
    image_size: int | None = None
    """Height and width of its images in pixels; None: it takes any."""
    views: tuple[str, ...] = ()
    """Names of the cameras that it was trained on, whose images lie below each other in its frames
    in this order; empty: one camera of any name."""
    predicts_depth: bool = False
    """Whether its videos hold depth, where the prompt does."""
    parameters: int | None = None
    """Number of weights; None where it is unknown or there are none."""
    facts: dict[str, str] = field(default_factory=dict)
    """What else a report lists about it, by heading, for example its number format."""


@runtime_checkable
class Predictor(Protocol):
    """A model that continues videos under given actions."""

    @property
    def spec(self) -> PredictorSpec:
        """The predictor's name and the recordings that it works on."""
        ...

    def predict(
        self,
        prompt: Videos,
        states: Float[np.ndarray, "b r s"],
        actions: Float[np.ndarray, "b n a"],
        *,
        seed: int = 0,
    ) -> Videos:
        """Continue every clip of a batch.

        Args:
            prompt: The given frames, one or more, with depth where the recording has it. The images
                of several cameras (`spec.views`) lie below each other.
            states: Proprioception at native rows: the last one belongs to the prompt's last frame,
                those before it (if any) to the rows just before. Empty (b, 1, 0) where the
                recording has none.
            actions: At the native rate, in stored units, from the prompt's last frame on.
            seed: Of what is drawn at random; equal seeds give equal videos.

        Returns:
            1 + n // stride frames. Frame 0 is the prompt's last frame as the predictor shows it: a
            copy, or its own reconstruction. Frame k is the one that the first k * stride actions
            lead to. The images have the prompt's size.
        """
        ...


@runtime_checkable
class Codec(Protocol):
    """A tokenizer: videos to tokens and back."""

    def encode(self, videos: Videos) -> VideoCodes:
        """Every frame's tokens."""
        ...

    def decode(self, codes: VideoCodes, given: Videos) -> Videos:
        """Every token's pixels; `given` are the clips' true first frames, which it may use."""
        ...


@runtime_checkable
class TokenPredictor(Predictor, Protocol):
    """A predictor of tokens: its ceiling and its token accuracy can be measured too.

    Its `predict` returns `TokenVideos`.
    """

    @property
    def codec(self) -> Codec:
        """Between its tokens and pixels."""
        ...


@runtime_checkable
class TaskPredictor(Predictor, Protocol):
    """A predictor that can be given the task of each clip, in words."""

    def with_tasks(self, tasks: tuple[str, ...]) -> Predictor:
        """The same predictor for a batch of clips whose tasks are these, in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class TokenVideos(Videos):
    """Videos that were decoded from tokens, and those tokens."""

    codes: VideoCodes


def some_clips(videos: Videos, which: slice) -> Videos:
    """Some clips of a batch, with their tokens where there are any."""
    part = videos.map(lambda array: array[which])
    if not isinstance(videos, TokenVideos):
        return part
    codes = videos.codes.map(lambda tokens: tokens[which])
    return TokenVideos(rgb=part.rgb, depth_m=part.depth_m, codes=codes)


def check_recordings(
    spec: PredictorSpec, dataset: LeRobotDataset, *, cameras: tuple[str, ...]
) -> None:
    """Refuse recordings that a predictor was not made for.

    Raises:
        ValueError: another action convention, other state dimensions or another image size.
    """
    known = {one.name: (one.height, one.width) for one in dataset.spec.cameras}
    sizes = {camera: known[camera] for camera in cameras}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the cameras of a frame must show images of one size, got {sizes}")
    wanted_size = None if spec.image_size is None else (spec.image_size, spec.image_size)
    for what, expected, found in (
        ("the action convention", spec.action, dataset.spec.action),
        ("the state dimensions", spec.state_names, dataset.spec.state_names),
        ("images of this height and width:", wanted_size, sizes[cameras[0]]),
    ):
        if expected is not None and expected != found:
            raise UserError(
                f"{spec.name} was trained with {what}\n  {expected}\nand {dataset.root} has\n  "
                f"{found}\nUse a model of this robot and camera, or correct `meta/roboscape.json` "
                "where it is wrong (`roboscape inspect` shows what looks wrong)"
            )


def check_prediction(
    predicted: Videos, prompt: Videos, *, spec: PredictorSpec, frames: int
) -> None:
    """Refuse videos of another form than `Predictor.predict` promises.

    Raises:
        ValueError: the number of clips, frames or pixels, or the type, is another one.
    """
    clips, _, height, width, _ = prompt.rgb.shape
    shape = (clips, frames, height, width)
    parts: list[tuple[str, np.ndarray | None, tuple[int, ...]]] = [
        ("rgb", predicted.rgb, (*shape, 3))
    ]
    if spec.predicts_depth and prompt.depth_m is not None:
        parts.append(("depth_m", predicted.depth_m, shape))
    for name, found, expected in parts:
        if found is None or found.shape != expected:
            raise UserError(
                f"{spec.name} must predict `{name}` of shape {expected} (clips, frames with the "
                f"given one, height, width), got {None if found is None else found.shape}"
            )
    if predicted.rgb.dtype != np.uint8:
        raise UserError(f"{spec.name} must predict 8-bit RGB, got {predicted.rgb.dtype}")
