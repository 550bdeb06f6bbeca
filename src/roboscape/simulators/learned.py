"""The learned simulator: a bundle imagines every frame, behind the simulators' protocol."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.controls.encoder import ControlState
from roboscape.core.errors import UserError
from roboscape.core.threads import threads
from roboscape.dataset.records import CameraSpec
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import Imagination, ImaginationState
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import VideoCodes, Videos, encode_videos, first_objects
from roboscape.simulators.beginnings import Beginning, BeginningReader
from roboscape.simulators.pictures import (
    KINDS,
    GivenFrames,
    ImaginedFrames,
    Kind,
    Picture,
    black,
    decode_frames,
    merged,
)
from roboscape.simulators.protocol import Index, Mask, Observation, Snapshot, Start, WorldSpec
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.weights import loaded_encoder_sha256
from roboscape.world_model.config import WorldModelConfig

Decode = Literal["all", "rgb", "none"]
"""The parts of an imagined frame that become pixels: decoding costs far more than imagining."""


@dataclass(frozen=True, kw_only=True)
class LearnedWorlds:
    """The contents of a snapshot."""

    spec: WorldSpec
    imagination: ImaginationState
    controls: ControlState
    confidence: Float[np.ndarray, "b y x"]
    pictures: dict[Kind, Picture]


class LearnedSimulator:
    """A batch of worlds that a bundle imagines; a `Simulator`.

    The first observation is the given frame itself, as it was given; later ones are decoded tokens.
    Worlds with equal pasts and equal actions have equal futures, at any temperature (`reseed` parts
    them). Beyond the protocol: `tokens` and `observe`, for planners that need no pixels, `reseed`.

    Without an arm model in the bundle nothing says where the arm is: observations then have states
    of size 0 and `spec.state_names` is empty, though starts still need the state that the control
    signals begin with.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch: int = 1,
        cameras: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        seed: int = 0,
        decode: Decode = "all",
        task: str = "",
    ) -> None:
        """Make room for worlds; `reset` begins them.

        Args:
            bundle: Tokenizer, world model and controls, prepared for a device
                (`Bundle.for_imagining`).
            batch: Number of worlds.
            cameras: Names of the cameras that are the bundle's views, in its order; those of its
                training where none is given.
            sampling: How tokens are chosen.
            seed: Of the tokens that are drawn, at a temperature above 0.
            decode: What is decoded; kinds that are not are missing in observations.
            task: What is to be done, in words; where a start names no task of its own, the model
                is given this one, if it is a model of many tasks.
        """
        self.bundle = bundle
        self.decode: Decode = decode
        model, controls = bundle.world_model.config, bundle.controls
        self.cameras = view_names(model, asked=cameras)
        """Names of the views of a frame, from top to bottom."""
        self._spec = world_spec(bundle, self.cameras, task=task)
        self._imagination: Imagination | None = Imagination(
            bundle.world_model, batch=batch, sampling=sampling, seed=seed
        )
        self._controls = controls.stream()
        self._controls.reset(np.zeros((batch, controls.statistics.state_size), np.float32))
        self._confidence = np.ones((batch, *model.frame_grid), np.float32)
        side = bundle.tokenizer.config.image_size
        # A frame is decoded when it is asked for, and once.
        self._pictures: dict[Kind, Picture] = {
            kind: black(
                kind,
                worlds=batch,
                size=(model.cameras * side, side),
                tokens=model.tokens_per_frame,
            )
            for kind in KINDS[: model.modalities]
        }

    @property
    def spec(self) -> WorldSpec:
        """The specification that all worlds share."""
        return self._spec

    @property
    def batch(self) -> int:
        """Number of worlds."""
        return self.engine.batch

    @property
    def tokens(self) -> Int[Tensor, "m b n"]:
        """Tokens of every world's newest frame, on the model's device: m RGB, then depth."""
        return self.engine.last

    def reset(self, starts: Sequence[Start], *, where: Mask | None = None) -> Observation:
        """Begin anew from given frames; nothing changes where a start does not fit.

        Raises:
            ValueError: another number of starts than of chosen worlds; a `SeedStart`; an image of
                another size, no depth for a model of depth, another state than the model's; a row
                or prompt outside the episode; another action convention.
        """
        worlds = self._chosen(where)
        if len(starts) != len(worlds):
            raise UserError(
                f"expected one start for each of {len(worlds)} worlds, got {len(starts)}"
            )
        reader = BeginningReader(bundle=self.bundle, cameras=self.cameras)
        beginnings = [reader.read(start) for start in starts]
        # Prompts of one length are read together.
        for length in sorted({len(one.actions) for one in beginnings}):
            chosen = [i for i, one in enumerate(beginnings) if len(one.actions) == length]
            self._begin([worlds[i] for i in chosen], [beginnings[i] for i in chosen])
        return self.observe()

    @torch.no_grad()
    def step(self, actions: Float[np.ndarray, "b stride a"]) -> Observation:
        """Imagine the frame that the actions lead to.

        Raises:
            ValueError: another shape than (`batch`, `spec.stride`, action size), a number that is
                not finite, or a world that was never reset.
        """
        engine, convention = self.engine, self.spec.action
        actions = np.asarray(actions)
        expected = (self.batch, self.spec.stride, len(convention.names))
        if actions.shape != expected:
            raise UserError(
                f"expected actions of shape {expected} (worlds, native rows between two frames, "
                f"action numbers: {', '.join(convention.names)}), got {actions.shape}"
            )
        if not np.isfinite(actions).all():
            raise UserError("actions must be finite numbers; got NaN or infinity")
        if not all(engine.begun):
            raise UserError("a world that was never reset cannot be stepped; call `reset` first")
        on_cpu = engine.device.type == "cpu"
        with threads(1):
            signal = self._controls.step(actions)
        with self.bundle.threads.of((self.batch, self.decode)) if on_cpu else nullcontext():
            frame = engine.step(signal.to(engine.device))
            self._confidence = self._grid(frame.confidence)
            self._pictures = {kind: one.outdated() for kind, one in self._pictures.items()}
            return self.observe()

    def observe(self, decode: Decode | None = None) -> Observation:
        """The observation of all worlds now; more or less decoded than `step` does, if asked."""
        choices: dict[Decode, tuple[Kind, ...]] = {"all": KINDS, "rgb": KINDS[:1], "none": ()}
        wanted = choices[decode or self.decode]
        shown: list[Kind] = [kind for kind in wanted if kind in self._pictures]
        self._decode(shown)
        found = {kind: self._pictures[kind].pixels.copy() for kind in shown}
        state = self._controls.state
        return Observation(
            rgb=self._by_camera(found.get("rgb")),
            depth_m=self._by_camera(found.get("depth")),
            state=np.zeros((self.batch, 0), np.float32) if state is None else state.copy(),
            confidence=self._by_camera(self._confidence.copy()),
            tokens=self._by_camera(self._token_grid(), rows=2),
        )

    def _by_camera(self, frames: np.ndarray | None, *, rows: int = 1) -> dict[str, np.ndarray]:
        """Every camera's part of frames of all, by the axis of rows; nothing of what is not shown.

        Args:
            frames: b h ..., or with other axes before the rows.
            rows: the axis along which views lie below each other.
        """
        if frames is None:
            return {}
        return dict(zip(self.cameras, np.split(frames, len(self.cameras), axis=rows), strict=True))

    def _token_grid(self) -> Int[np.ndarray, "b m y x"]:
        """The newest frames' tokens."""
        height, width = self.bundle.world_model.config.frame_grid
        # A copy: the engine's own tokens are what the next frame is imagined from.
        tokens = self.tokens.to("cpu", copy=True)
        return rearrange(tokens, "m b (y x) -> b m y x", y=height, x=width).numpy()

    def snapshot(self) -> Snapshot:
        """Copy what all worlds' futures depend on; stepping afterwards leaves the copy alone."""
        worlds = LearnedWorlds(
            spec=self.spec,
            imagination=self.engine.snapshot(),
            controls=self._controls.snapshot(),
            confidence=self._confidence,
            pictures=dict(self._pictures),
        )
        return Snapshot(worlds, self.batch)

    def restore(
        self, snapshot: Snapshot, *, where: Mask | None = None, index: Index | None = None
    ) -> Observation:
        """Go on from a snapshot of a learned simulator of this bundle; see the protocol.

        Raises:
            ValueError: a snapshot of another kind or spec, worlds that it does not have, or another
                number of them than of chosen worlds.
        """
        content = snapshot.content
        if not isinstance(content, LearnedWorlds) or content.spec != self.spec:
            raise UserError(
                "expected a snapshot of a learned simulator of the same bundle, camera and task; "
                "other simulators' snapshots mean other things"
            )
        taken = [int(i) for i in (range(len(snapshot)) if index is None else index)]
        if not taken or not all(0 <= i < len(snapshot) for i in taken):
            raise UserError(f"a snapshot of {len(snapshot)} worlds has no worlds {taken}")
        worlds = None if where is None else self._chosen(where)
        if worlds is not None and len(worlds) != len(taken):
            raise UserError(f"got {len(taken)} worlds of a snapshot for {len(worlds)} worlds")
        self.engine.restore(content.imagination, worlds=worlds, index=taken)
        self._controls.restore(content.controls.take(taken), worlds=worlds)
        self._confidence = merged(self._confidence, worlds, content.confidence[taken])
        for kind, picture in self._pictures.items():
            self._pictures[kind] = picture.merged(worlds, content.pictures[kind].take(taken))
        return self.observe()

    def reseed(self, seed: int, *, where: Mask | None = None) -> None:
        """Give worlds new draws from here on, each its own: equal forks part."""
        self.engine.reseed(seed, worlds=self._chosen(where))

    def close(self) -> None:
        """Free the worlds' memory; nothing can be done afterwards."""
        self._imagination = None

    @property
    def engine(self) -> Imagination:
        """The engine that imagines; tokens and their memory, for benchmarks and planners."""
        if self._imagination is None:
            raise UserError("this simulator was closed; make another")
        return self._imagination

    def _chosen(self, where: Mask | None) -> list[int]:
        """Numbers of the worlds that a mask means."""
        if where is None:
            return list(range(self.batch))
        mask = np.asarray(where)
        if mask.shape != (self.batch,) or mask.dtype != bool:
            raise UserError(
                f"expected a mask of {self.batch} booleans, got {mask.dtype} of shape {mask.shape}"
            )
        return [int(world) for world in np.flatnonzero(mask)]

    def _begin(self, worlds: list[int], beginnings: list[Beginning]) -> None:
        """Read prompts of one length."""
        depths = [one.frames.depth_m for one in beginnings if one.frames.depth_m is not None]
        given = Videos(
            rgb=np.concatenate([one.frames.rgb for one in beginnings]),
            depth_m=np.concatenate(depths) if depths else None,
        )
        codes = encode_videos(self.bundle.tokenizer, given)
        absent = torch.from_numpy(np.stack([one.missing for one in beginnings]))
        absent = absent.repeat_interleave(self.bundle.world_model.config.tokens_per_view, dim=1)
        codes = codes.map(lambda x: x.masked_fill(absent.unsqueeze(1), MISSING))
        stream = self.bundle.controls.stream()
        first = stream.reset(
            np.stack([one.state for one in beginnings]),
            state_before=np.stack([one.state_before for one in beginnings]),
            task=[one.task or self.spec.task for one in beginnings],
            objects=self._objects(beginnings, codes),
        )
        later = stream.advance(np.stack([one.actions for one in beginnings]))
        device = self.engine.device
        self.engine.reset(
            rgb=codes.rgb.to(device),
            depth=None if codes.depth is None else codes.depth.to(device),
            controls=torch.cat([first.unsqueeze(1), later], dim=1).to(device),
            # All worlds at once need no second cache to be read in and copied from.
            worlds=None if len(worlds) == self.batch else worlds,
        )
        self._controls.restore(stream.snapshot(), worlds=worlds)
        self._confidence = merged(self._confidence, worlds, np.ones(1, np.float32))
        for kind, frames, tokens in (
            ("rgb", given.rgb, codes.rgb),
            ("depth", given.depth_m, codes.depth),
        ):
            if kind in self._pictures and frames is not None and tokens is not None:
                last = Picture(
                    pixels=frames[:, -1],
                    decoded=np.ones(len(worlds), bool),
                    given=GivenFrames(frames[:, -1], tokens[:, -1].numpy()),
                )
                self._pictures[kind] = self._pictures[kind].merged(worlds, last)

    def _objects(
        self, beginnings: list[Beginning], codes: VideoCodes
    ) -> Float[np.ndarray, "b o"] | None:
        """Where objects are in the first given frames: as given, else as these show them."""
        shown = first_objects(self.bundle, codes)
        if shown is None:
            return None
        given = [one.objects for one in beginnings]
        return np.stack(
            [own if own is not None else seen for own, seen in zip(given, shown, strict=True)]
        )

    @torch.no_grad()
    def _decode(self, kinds: Sequence[Kind]) -> None:
        """Decode the present frames of these kinds that are not yet."""
        tokenizer, waiting = self.bundle.tokenizer, {}
        for kind in kinds:
            unseen = np.flatnonzero(~self._pictures[kind].decoded)
            if len(unseen):
                waiting[kind] = unseen
        if not waiting:
            return
        frames = {kind: self._imagined(kind, unseen) for kind, unseen in waiting.items()}
        for kind, pixels in decode_frames(tokenizer, frames).items():
            self._pictures[kind] = self._pictures[kind].updated(waiting[kind], pixels)

    def _imagined(self, kind: Kind, unseen: np.ndarray) -> ImaginedFrames:
        """The codes and beliefs that the newest frames of some worlds are decoded from."""
        modality, worlds = KINDS.index(kind), torch.from_numpy(unseen)
        return ImaginedFrames(
            codes=self.tokens[modality][worlds],
            soft=self.engine.newest.soft.map(lambda x: x[modality][worlds]),
            given=self._pictures[kind].given.take(unseen),
        )

    def _grid(self, confidence: Float[Tensor, "b n"]) -> Float[np.ndarray, "b y x"]:
        height, width = self.bundle.world_model.config.frame_grid
        return rearrange(confidence, "b (y x) -> b y x", y=height, x=width).cpu().numpy()


def view_names(model: WorldModelConfig, *, asked: Sequence[str]) -> tuple[str, ...]:
    """The asked names of a model's views, those of its training where none is asked for."""
    names = tuple(asked) or model.views
    if len(set(names)) != model.cameras:
        raise UserError(
            f"expected the names of {model.cameras} cameras, got {list(names)}; this "
            f"bundle was trained on {', '.join(model.views) or 'one camera of any name'}"
        )
    return names


def world_spec(bundle: Bundle, cameras: Sequence[str], *, task: str) -> WorldSpec:
    """The specification of the worlds that a bundle imagines, with names for its views."""
    controls, side = bundle.controls, bundle.tokenizer.config.image_size
    has_depth = bundle.world_model.config.modalities > 1
    arm = controls.proprioception
    return WorldSpec(
        cameras=tuple(
            CameraSpec(name=name, height=side, width=side, has_depth=has_depth) for name in cameras
        ),
        frame_hz=controls.convention.action_hz / controls.stride,
        stride=controls.stride,
        action=controls.convention,
        state_names=arm.config.state_names if arm else (),
        task=task,
        encoder_sha256=loaded_encoder_sha256(bundle.tokenizer),
    )
