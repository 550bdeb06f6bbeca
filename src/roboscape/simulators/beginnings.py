"""The beginnings of imagined worlds: the frames and numbers of their starts, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from roboscape.clips.reader import ClipReader
from roboscape.core.errors import UserError
from roboscape.dataset.depth_choice import depth_source
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.videos import Videos, check_convention, stack_clips
from roboscape.simulators.protocol import EpisodeStart, FrameStart, SeedStart, Start


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
    objects: Float[np.ndarray, " o"] | None = None
    """Where objects are; None: as the given frame shows them."""


@dataclass(frozen=True, kw_only=True)
class BeginningReader:
    """Reads the starts of a bundle's worlds."""

    bundle: Bundle
    cameras: tuple[str, ...]
    """Names of the views of a frame, from top to bottom."""

    @property
    def has_depth(self) -> bool:
        """Whether the bundle imagines depth, so that starts must give it."""
        return self.bundle.world_model.config.modalities > 1

    def read(self, start: Start) -> Beginning:
        """A start's frames and numbers.

        Raises:
            ValueError: a `SeedStart`; an image of another size, no depth for a model of depth,
                another state than the model's; a row or prompt outside the episode; another action
                convention.
        """
        if isinstance(start, SeedStart):
            raise UserError(
                "a learned simulator does not know what scene a seed places; give it a frame: an "
                "`EpisodeStart`, or a `FrameStart` with what a true simulator shows after its reset"
            )
        found = self._frame(start) if isinstance(start, FrameStart) else self._episode(start)
        self._check_states(found)
        self._check_images(found.frames)
        self._check_objects(found)
        return found if self.has_depth else without_depth(found)

    def _check_states(self, found: Beginning) -> None:
        size = self.bundle.controls.statistics.state_size
        for what, state in (("state", found.state), ("state_before", found.state_before)):
            if state.shape != (size,) or not np.isfinite(state).all():
                raise UserError(
                    f"expected `{what}` to be {size} finite numbers, as in training, got shape "
                    f"{state.shape}: {state}"
                )

    def _check_objects(self, found: Beginning) -> None:
        names = self.bundle.controls.object_names if self.bundle.object_reader else ()
        if found.objects is not None and (
            found.objects.shape != (len(names),) or not np.isfinite(found.objects).all()
        ):
            raise UserError(
                f"expected `objects` to be finite numbers, {', '.join(names) or 'none'}, which "
                f"this bundle's arm model takes; got {found.objects}"
            )

    def _check_images(self, frames: Videos) -> None:
        side = self.bundle.tokenizer.config.image_size
        size = len(self.cameras) * side, side
        rgb, depth_m = frames.rgb, frames.depth_m
        if rgb.shape[2:] != (*size, 3) or rgb.dtype != np.uint8:
            raise UserError(
                f"expected RGB images of {side} x {side} pixels, uint8, got {rgb.dtype} of shape "
                f"{rgb.shape[2:]} for {len(self.cameras)} cameras; this model has one image size: "
                "resize yours"
            )
        if self.has_depth and (depth_m is None or depth_m.shape[2:] != size):
            found_depth = "none" if depth_m is None else f"shape {depth_m.shape[2:]}"
            raise UserError(
                f"this model imagines depth and needs the given frame's, {side} x {side} in "
                f"metres, got {found_depth}; estimate it (`roboscape annotate`) or use a model "
                "without depth"
            )

    def _frame(self, start: FrameStart) -> Beginning:
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
            actions=np.zeros((0, len(self.bundle.controls.convention.names)), np.float32),
            task=start.task,
            objects=None if start.objects is None else np.asarray(start.objects, np.float32),
        )

    def _episode(self, start: EpisodeStart) -> Beginning:
        dataset, stride = start.dataset, self.bundle.controls.stride
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


def stacked(views: Sequence[np.ndarray | None]) -> np.ndarray:
    """Images of several cameras below each other; black where there is none."""
    (known, *_) = (view for view in views if view is not None)
    return np.concatenate([np.zeros_like(known) if view is None else view for view in views])


def without_depth(found: Beginning) -> Beginning:
    """The same start for a model that imagines RGB alone."""
    return replace(found, frames=replace(found.frames, depth_m=None))
