"""The learned simulator: a bundle imagines every frame, behind the simulators' protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.clips.reader import ClipReader
from roboscape.controls.encoder import ControlState
from roboscape.core.errors import UserError
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.records import CameraSpec
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import Imagination, ImaginationState
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import (
    Videos,
    check_convention,
    encode_videos,
    stack_clips,
)
from roboscape.simulators.protocol import (
    EpisodeStart,
    FrameStart,
    Index,
    Mask,
    Observation,
    SeedStart,
    Snapshot,
    Start,
    WorldSpec,
)
from roboscape.tokenizer.codes import MISSING

Decode = Literal["all", "rgb", "none"]
"""The parts of an imagined frame that become pixels: decoding costs far more than imagining."""
Pictures = dict[str, np.ndarray]
"""Pixels of every world by kind: `rgb` b h w 3 uint8, `depth` b h w in metres; of several cameras
below each other."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A start, read: given frames, and what the arm did between them. Axes: p given frame."""

    frames: Videos
    """A batch of one."""
    missing: Bool[np.ndarray, " v"]
    """Views that are not given, and black."""
    state: Float[np.ndarray, " s"]
    """At the first given frame."""
    state_before: Float[np.ndarray, " s"]
    """One native row earlier."""
    actions: Float[np.ndarray, "n a"]
    """Native actions between the given frames."""
    task: str
    """What is to be done, in words."""


@dataclass(frozen=True)
class GivenFrames:
    """Each world's last given frame, of one kind: a decoder takes over what has not changed."""

    pixels: np.ndarray
    codes: Int[np.ndarray, "b n"]
    """Its tokens, kept so that no later step encodes it again."""

    def take(self, worlds: Sequence[int] | np.ndarray) -> "GivenFrames":
        """Those of some worlds."""
        return GivenFrames(self.pixels[worlds], self.codes[worlds])

    def merged(self, worlds: Sequence[int] | None, new: "GivenFrames") -> "GivenFrames":
        """A copy with some worlds replaced."""
        return GivenFrames(
            merged(self.pixels, worlds, new.pixels), merged(self.codes, worlds, new.codes)
        )


@dataclass(frozen=True, kw_only=True)
class LearnedWorlds:
    """The contents of a snapshot."""

    spec: WorldSpec
    imagination: ImaginationState
    controls: ControlState
    confidence: Float[np.ndarray, "b y x"]
    pictures: Pictures
    seen: dict[str, Bool[np.ndarray, " b"]]
    given: dict[str, GivenFrames]


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
            task: What is to be done, in words; where a start tells no task of its own, the model
                is given this one, if it is a model of many tasks.
        """
        self.bundle, self.decode = bundle, decode
        model, controls = bundle.world_model.config, bundle.controls
        self.cameras = tuple(cameras) or model.views
        """Names of the views of a frame, from top to bottom."""
        if len(set(self.cameras)) != model.cameras:
            raise UserError(
                f"expected the names of {model.cameras} cameras, got {list(self.cameras)}; this "
                f"bundle was trained on {', '.join(model.views) or 'one camera of any name'}"
            )
        side = bundle.tokenizer.config.image_size
        arm = controls.proprioception
        self._spec = WorldSpec(
            cameras=tuple(
                CameraSpec(name=name, height=side, width=side, has_depth=model.modalities > 1)
                for name in self.cameras
            ),
            frame_hz=controls.convention.action_hz / controls.stride,
            stride=controls.stride,
            action=controls.convention,
            state_names=arm.config.state_names if arm else (),
            task=task,
        )
        self._imagination: Imagination | None = Imagination(
            bundle.world_model, batch=batch, sampling=sampling, seed=seed
        )
        self._controls = controls.stream()
        self._controls.reset(np.zeros((batch, controls.statistics.state_size), np.float32))
        self._confidence = np.ones((batch, *model.frame_grid), np.float32)
        size = model.cameras * side, side
        self._pictures: Pictures = {"rgb": np.zeros((batch, *size, 3), np.uint8)}
        if model.modalities > 1:
            self._pictures["depth"] = np.zeros((batch, *size), np.float32)
        nothing = np.zeros((batch, model.tokens_per_frame), np.int32)
        self._given = {
            kind: GivenFrames(pixels, nothing) for kind, pixels in self._pictures.items()
        }
        # A frame is decoded when somebody looks, and once; a world that was never reset is black.
        self._seen = {kind: np.ones(batch, bool) for kind in self._pictures}

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
        beginnings = [self._read(start) for start in starts]
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
        signal = self._controls.step(actions)
        frame = engine.step(signal.to(engine.device))
        self._confidence = self._grid(frame.confidence)
        self._seen = {kind: np.zeros(self.batch, bool) for kind in self._pictures}
        return self.observe()

    def observe(self, decode: Decode | None = None) -> Observation:
        """The observation of all worlds now; more or less decoded than `step` does, if asked."""
        wanted = {"all": ("rgb", "depth"), "rgb": ("rgb",), "none": ()}[decode or self.decode]
        found = {kind: self._picture(kind).copy() for kind in wanted if kind in self._pictures}
        state = self._controls.state
        return Observation(
            rgb=self._by_camera(found.get("rgb")),
            depth_m=self._by_camera(found.get("depth")),
            state=np.zeros((self.batch, 0), np.float32) if state is None else state.copy(),
            confidence=self._by_camera(self._confidence.copy()),
        )

    def _by_camera(self, frames: np.ndarray | None) -> dict[str, np.ndarray]:
        """Every camera's part of frames (b h ...) of all; nothing of what is not shown."""
        if frames is None:
            return {}
        return dict(zip(self.cameras, np.split(frames, len(self.cameras), axis=1), strict=True))

    def snapshot(self) -> Snapshot:
        """Copy what all worlds' futures depend on; stepping afterwards leaves the copy alone."""
        worlds = LearnedWorlds(
            spec=self.spec,
            imagination=self.engine.snapshot(),
            controls=self._controls.snapshot(),
            confidence=self._confidence,
            pictures=dict(self._pictures),
            seen=dict(self._seen),
            given=dict(self._given),
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
        for kind in self._pictures:
            picture, seen = content.pictures[kind][taken], content.seen[kind][taken]
            self._pictures[kind] = merged(self._pictures[kind], worlds, picture)
            self._seen[kind] = merged(self._seen[kind], worlds, seen)
            given = content.given[kind].take(taken)
            self._given[kind] = self._given[kind].merged(worlds, given)
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
                last = GivenFrames(frames[:, -1], tokens[:, -1].numpy())
                self._pictures[kind] = merged(self._pictures[kind], worlds, last.pixels)
                self._given[kind] = self._given[kind].merged(worlds, last)
                self._seen[kind] = merged(self._seen[kind], worlds, np.ones(1, bool))

    def _read(self, start: Start) -> Beginning:
        """A start's frames and numbers, checked."""
        if isinstance(start, SeedStart):
            raise UserError(
                "a learned simulator does not know what scene a seed places; give it a frame: an "
                "`EpisodeStart`, or a `FrameStart` with what a true simulator shows after its reset"
            )
        if isinstance(start, FrameStart):
            found = self._read_frame(start)
        else:
            found = self._read_episode(start)
        size = self.bundle.controls.statistics.state_size
        for what, state in (("state", found.state), ("state_before", found.state_before)):
            if state.shape != (size,) or not np.isfinite(state).all():
                raise UserError(
                    f"expected `{what}` to be {size} finite numbers, as in training, got shape "
                    f"{state.shape}: {state}"
                )
        side = self.bundle.tokenizer.config.image_size
        size = len(self.cameras) * side, side
        rgb, depth_m = found.frames.rgb, found.frames.depth_m
        if rgb.shape[2:] != (*size, 3) or rgb.dtype != np.uint8:
            raise UserError(
                f"expected RGB images of {side} x {side} pixels, uint8, got {rgb.dtype} of shape "
                f"{rgb.shape[2:]} for {len(self.cameras)} cameras; this model has one image size: "
                "resize yours"
            )
        if "depth" in self._pictures and (depth_m is None or depth_m.shape[2:] != size):
            found_depth = "none" if depth_m is None else f"shape {depth_m.shape[2:]}"
            raise UserError(
                f"this model imagines depth and needs the given frame's, {side} x {side} in "
                f"metres, got {found_depth}; estimate it (`roboscape annotate`) or use a model "
                "without depth"
            )
        return found if "depth" in self._pictures else without_depth(found)

    def _read_frame(self, start: FrameStart) -> Beginning:
        missing = np.array([name not in start.rgb for name in self.cameras])
        if missing.all():
            raise UserError(
                f"expected images of the cameras {', '.join(self.cameras)} (of some of them at "
                f"least), got {sorted(start.rgb) or 'none'}"
            )
        rgb = [start.rgb.get(name) for name in self.cameras]
        depth_m = [start.depth_m.get(name) for name in self.cameras]
        has_depth = all(depth_m[view] is not None for view in np.flatnonzero(~missing))
        state = np.asarray(start.state, np.float32)
        before = state if start.state_before is None else start.state_before
        return Beginning(
            frames=Videos(
                rgb=stacked(rgb)[None, None],
                depth_m=stacked(depth_m)[None, None].astype(np.float32) if has_depth else None,
            ),
            missing=missing,
            state=state,
            state_before=np.asarray(before, np.float32),
            actions=np.zeros((0, len(self.spec.action.names)), np.float32),
            task=start.task,
        )

    def _read_episode(self, start: EpisodeStart) -> Beginning:
        dataset, stride = start.dataset, self.spec.stride
        check_convention(self.bundle, dataset)
        length = dataset.episode_info(start.episode).length
        first = start.row - (start.prompt_frames - 1) * stride
        if start.prompt_frames < 1 or not 0 <= first <= start.row < length:
            raise UserError(
                f"expected a row from 0 to {length - 1} with {stride} rows before it for each "
                f"further prompt frame, got row {start.row} and {start.prompt_frames} prompt frames"
            )
        reader = ClipReader(
            dataset=dataset,
            cameras=self.cameras,
            length=start.prompt_frames,
            stride=stride,
            depth=depth_source(dataset, *self.cameras),
        )
        clip = reader.read(start.episode, first)
        return Beginning(
            frames=stack_clips([clip], self.cameras),
            missing=np.zeros(len(self.cameras), bool),
            state=clip.states[0],
            state_before=clip.state_before,
            actions=clip.actions,
            task=clip.task,
        )

    @torch.no_grad()
    def _picture(self, kind: str) -> np.ndarray:
        """Pixels of all worlds; those not looked at yet are decoded."""
        unseen = np.flatnonzero(~self._seen[kind])
        if len(unseen):
            modality, worlds = ("rgb", "depth").index(kind), torch.from_numpy(unseen)
            codes = self.tokens[modality][worlds]
            soft = self.engine.newest.soft.map(lambda x: x[modality][worlds])
            tokenizer, given = self.bundle.tokenizer, self._given[kind].take(unseen)
            true, known = torch.from_numpy(given.pixels), torch.from_numpy(given.codes)
            if kind == "rgb":
                pixels = tokenizer.decode_rgb(codes, tokenizer.given_rgb(true, known), soft)
            else:
                pixels = tokenizer.decode_depth(codes, tokenizer.given_depth(true, known), soft)
            pixels = pixels.cpu().numpy()
            everybody = len(unseen) == self.batch
            self._pictures[kind] = merged(
                self._pictures[kind], None if everybody else unseen, pixels
            )
            self._seen[kind] = np.ones(self.batch, bool)
        return self._pictures[kind]

    def _grid(self, confidence: Float[Tensor, "b n"]) -> Float[np.ndarray, "b y x"]:
        height, width = self.bundle.world_model.config.frame_grid
        return rearrange(confidence, "b (y x) -> b y x", y=height, x=width).cpu().numpy()


def merged(
    old: np.ndarray, worlds: Sequence[int] | np.ndarray | None, new: np.ndarray
) -> np.ndarray:
    """A copy of `old` with some worlds replaced, all where not given; snapshots keep `old`."""
    if worlds is None:
        return new
    changed = old.copy()
    changed[list(worlds)] = new
    return changed


def stacked(views: Sequence[np.ndarray | None]) -> np.ndarray:
    """Images of several cameras below each other; black where there is none."""
    (known, *_) = (view for view in views if view is not None)
    return np.concatenate([np.zeros_like(known) if view is None else view for view in views])


def without_depth(found: Beginning) -> Beginning:
    """The same start for a model that imagines RGB alone."""
    return replace(found, frames=replace(found.frames, depth_m=None))
