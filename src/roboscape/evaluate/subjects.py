"""The subjects that come with the code, to be measured: a bundle, the floors, the ceiling."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.core.errors import UserError
from roboscape.evaluate.protocol import Codec, PredictorSpec, TokenVideos
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import VideoCodes, Videos, decode_videos, encode_videos
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from roboscape.tokenizer.model import SoftCodes, Tokenizer
from roboscape.world_model.config import DEPTH, RGB, WorldModelConfig


@dataclass(frozen=True)
class TokenizerCodec:
    """A tokenizer as a codec."""

    tokenizer: Tokenizer

    def encode(self, videos: Videos) -> VideoCodes:
        """Every frame's tokens."""
        return encode_videos(self.tokenizer, videos)

    def decode(self, codes: VideoCodes, given: Videos) -> Videos:
        """Every token's pixels; `given` are the clips' true first frames."""
        return decode_videos(self.tokenizer, codes, given)


@dataclass(frozen=True)
class BundlePredictor:
    """A bundle as a predictor: the prompt's last frame to tokens, imagined on, decoded."""

    bundle: Bundle
    sampling: Sampling = GREEDY
    name: str = "RoboScape"
    missing: tuple[str, ...] = ()
    """Views that are not given at the start."""
    tasks: tuple[str, ...] = ()
    """What is to be done in each clip of a batch, in words; empty: no task is given."""
    takes_tasks: bool = True
    """Whether `with_tasks` gives it any."""

    def __post_init__(self) -> None:
        """Refuse to withhold a view that there is not, or all of them."""
        views = view_names(self.bundle.world_model.config)
        if not set(self.missing) < set(views):
            raise UserError(
                f"of the views {', '.join(views)} some can be missing, not all; got "
                f"{', '.join(self.missing)}"
            )

    def with_tasks(self, tasks: tuple[str, ...]) -> "BundlePredictor":
        """The same bundle, given each clip's task."""
        return replace(self, tasks=tasks) if self.takes_tasks else self

    @property
    def spec(self) -> PredictorSpec:
        """The sizes and conventions of its training."""
        bundle = self.bundle
        arm = bundle.controls.proprioception
        counts = {
            "World model": count_parameters(bundle.world_model),
            "Tokenizer": count_parameters(bundle.tokenizer),
        }
        return PredictorSpec(
            name=self.name,
            stride=bundle.controls.stride,
            action=bundle.controls.convention,
            state_names=arm.config.state_names if arm else None,
            image_size=bundle.tokenizer.config.image_size,
            views=bundle.world_model.config.views,
            predicts_depth=bundle.world_model.config.branches != "rgb",
            parameters=sum(counts.values()),
            facts={
                **{part: f"{count:,} parameters" for part, count in counts.items()},
                "Number format": str(bundle.world_model.hidden_dtype).removeprefix("torch."),
                "Temperature": f"{self.sampling.temperature:g}",
                "Passes a frame": f"{self.sampling.refinement_steps}",
                **({"Views not given": ", ".join(self.missing)} if self.missing else {}),
            },
        )

    @property
    def codec(self) -> TokenizerCodec:
        """Its tokenizer."""
        return TokenizerCodec(self.bundle.tokenizer)

    def predict(
        self,
        prompt: Videos,
        states: Float[np.ndarray, "b r s"],
        actions: Float[np.ndarray, "b n a"],
        *,
        seed: int = 0,
    ) -> TokenVideos:
        """Imagine from the prompt's last frame; frame 0 is that frame through the tokenizer."""
        cameras = view_names(self.bundle.world_model.config)
        simulator = LearnedSimulator(
            self.bundle,
            batch=len(prompt),
            cameras=cameras,
            sampling=self.sampling,
            seed=seed,
            decode="none",
        )
        simulator.reset(
            [
                FrameStart(
                    rgb=self.given(prompt.rgb[clip, -1], cameras),
                    depth_m={}
                    if prompt.depth_m is None
                    else self.given(prompt.depth_m[clip, -1], cameras),
                    state=states[clip, -1],
                    state_before=states[clip, -2:][0],
                    task=self.tasks[clip] if self.tasks else "",
                )
                for clip in range(len(prompt))
            ]
        )
        # A decoder that is shown a given frame must not see what was withheld either.
        last = prompt.map(lambda array: self.without_missing(array[:, -1:], cameras))
        return decoded(self.codec, imagine_clips(simulator, actions), given=last)

    def without_missing(self, frames: np.ndarray, cameras: tuple[str, ...]) -> np.ndarray:
        """Frames (b t h ...) in which the views that are not given are black."""
        views = zip(cameras, np.split(frames, len(cameras), axis=2), strict=True)
        return np.concatenate(
            [np.zeros_like(view) if name in self.missing else view for name, view in views], axis=2
        )

    def given(self, frame: np.ndarray, cameras: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The views of a frame that are given, by camera."""
        views = zip(cameras, np.split(frame, len(cameras)), strict=True)
        return {name: view for name, view in views if name not in self.missing}


def view_names(config: WorldModelConfig) -> tuple[str, ...]:
    """The names of a model's views; predictors are given pixels without names."""
    return config.views or ("camera",)


def imagine_clips(simulator: LearnedSimulator, actions: Float[np.ndarray, "b n a"]) -> VideoCodes:
    """Tokens of the frame that each world is in, followed by n // stride imagined frames.

    Args:
        simulator: After `reset`.
        actions: At the native rate, stored units, from that frame on.
    """
    stride, engine = simulator.spec.stride, simulator.engine
    frames = [engine.newest]
    for frame in range(actions.shape[1] // stride):
        simulator.step(actions[:, frame * stride : (frame + 1) * stride])
        frames.append(engine.newest)
    rgb, *depth = torch.stack([one.codes for one in frames], dim=2).cpu()
    if not simulator.bundle.tokenizer.config.soft_codes:
        return VideoCodes(rgb=rgb, depth=depth[0] if depth else None)
    soft = SoftCodes.stack([one.soft for one in frames], dim=2).map(Tensor.cpu)
    return VideoCodes(
        rgb=rgb,
        depth=depth[0] if depth else None,
        rgb_soft=soft.map(lambda x: x[RGB]),
        depth_soft=soft.map(lambda x: x[DEPTH]) if depth else None,
    )


@dataclass(frozen=True)
class StillPicture:
    """The floor: the prompt's last frame repeated."""

    stride: int

    @property
    def spec(self) -> PredictorSpec:
        """It works on every recording."""
        return PredictorSpec(name="still picture", stride=self.stride, predicts_depth=True)

    def predict(
        self,
        prompt: Videos,
        states: Float[np.ndarray, "b r s"],
        actions: Float[np.ndarray, "b n a"],
        *,
        seed: int = 0,
    ) -> Videos:
        """The last given frame, and again for every model frame; reads no state and no action."""
        del states, seed
        last = prompt.map(lambda array: array[:, -1:])
        return repeat_frame(last, 1 + actions.shape[1] // self.stride)


def still_tokens(codec: Codec, prompt: Videos, *, frames: int) -> TokenVideos:
    """The floor of models with a tokenizer: the prompt's last frame through it, repeated."""
    last = prompt.map(lambda array: array[:, -1:])
    one = codec.encode(last)
    shown = repeat_frame(codec.decode(one, last), frames)
    codes = one.map(lambda tokens: tokens.expand(-1, frames, -1))
    return TokenVideos(rgb=shown.rgb, depth_m=shown.depth_m, codes=codes)


def repeat_frame(videos: Videos, frames: int) -> Videos:
    """Videos of one frame, shown so many times."""
    return videos.map(lambda array: np.repeat(array, frames, axis=1))


def through_tokenizer(codec: Codec, truth: Videos) -> TokenVideos:
    """The ceiling: the true video, encoded and decoded again.

    It is no prediction (it is made from the future itself) and no bound either: it is what a model
    scores that predicts every token right. A model can score above it, for example where a blurred
    guess is nearer to the truth than its decoded tokens are.
    """
    return decoded(codec, codec.encode(truth), given=truth)


def decoded(codec: Codec, codes: VideoCodes, *, given: Videos) -> TokenVideos:
    """Tokens with their pixels."""
    shown = codec.decode(codes, given)
    return TokenVideos(rgb=shown.rgb, depth_m=shown.depth_m, codes=codes)


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in module.parameters())
