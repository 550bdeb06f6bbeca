"""The true simulator: Lift and Meta-World's tasks, with the physics that made the recordings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.records import RandomScenes
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
from roboscape.simulators.recording_spec import camera_specs
from roboscape.sources.proportions import Proportions, behaviour_of
from roboscape.sources.random_scenes import randomise_look
from roboscape.sources.scene import WRIST, Scene, make_scene
from roboscape.sources.simulation import SceneRenderer

REPLAY_TOLERANCE = 1e-3
"""Largest deviation from a recorded state (m, rad or its own unit) that a replay may show."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One frame of one world."""

    rgb: dict[str, UInt8[np.ndarray, "h w 3"]]
    depth_m: dict[str, Float[np.ndarray, "h w"]]
    state: Float[np.ndarray, " s"]
    solved: bool


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The contents of a snapshot."""

    task: str
    spec: WorldSpec
    worlds: list[tuple[Any, _Seen | None, int, str]]
    """Of each its captured scene, present frame, seed and behaviour."""


@dataclass(kw_only=True)
class World:
    """One world of a simulator: its scene, and what it began with."""

    scene: Scene
    renderers: dict[str, SceneRenderer] = field(default_factory=dict)
    """By camera name; all worlds have the same ones where their models are equal."""
    seed: int = -1
    behaviour: str = ""
    seen: _Seen | None = None
    """The present frame; None before the first reset."""
    rendered_model: Any = None
    """The model that the renderers were made for."""


class MujocoSimulator:
    """A batch of true worlds of one task, stepped one after the other.

    Images are rendered only for the frames that are observed. A world begins where the recorded
    episode of a seed begins (`SeedStart`), or at a row of a recorded episode (`EpisodeStart`),
    which is reached by taking the recorded actions from the episode's seed on.
    """

    def __init__(
        self,
        task: str,
        batch: int = 1,
        *,
        cameras: tuple[str, ...] = (),
        image_size: int = 128,
        supersampling: int = 2,
        frame_hz: float = 5.0,
        proportions: Proportions | None = None,
        random_scenes: RandomScenes = "none",
    ) -> None:
        """Open the first world's simulation; the others follow when they are needed.

        Args:
            task: `Lift`, or `metaworld/` and Meta-World's name of a task.
            batch: number of worlds.
            cameras: the simulator's names of the cameras; without any, the one that datasets of
                the task are recorded with.
            image_size: height and width of the images in pixels.
            supersampling: drawn so many times as large and averaged.
            frame_hz: observations a second; the native actions between two are a whole number.
            proportions: decide which behaviour's episode a seed begins, as they do when it is
                recorded.
            random_scenes: what of each episode's look is drawn from its seed.

        Raises:
            ValueError: no such task, a rate that does not divide the task's, a batch below 1, or
                the simulators are not installed.
        """
        if batch < 1:
            raise UserError(f"expected a batch of at least one world, got {batch}")
        self._task = task
        self._proportions = proportions or Proportions()
        self._random_scenes = random_scenes
        first = make_scene(task, cameras=cameras)
        self._kind = first.kind
        self._cameras = cameras or (first.kind.camera,)
        self._image_size, self._supersampling = image_size, supersampling
        self._spec = self._make_spec(frame_hz, words=first.task)
        self._pool = [World(scene=first)]
        self._shared: dict[str, SceneRenderer] = {}
        self._resize(batch)

    @property
    def spec(self) -> WorldSpec:
        """The specification that all worlds share."""
        return self._spec

    @property
    def batch(self) -> int:
        """Number of worlds."""
        return len(self.worlds)

    def reset(self, starts: Sequence[Start], *, where: Mask | None = None) -> Observation:
        """Begin anew; worlds that were never reset show black images.

        Raises:
            ValueError: another number of starts than of chosen worlds; a `FrameStart`; an episode
                of another simulator, or one whose replay departs from what was recorded.
        """
        chosen = self._chosen(where)
        if len(starts) != len(chosen):
            raise UserError(
                f"expected one start for each of {len(chosen)} worlds, got {len(starts)}"
            )
        for world, start in zip(chosen, starts, strict=True):
            match start:
                case SeedStart():
                    self._place(world, start.seed, behaviour_of(start.seed, self._proportions))
                case EpisodeStart():
                    self._replay(world, start)
                case FrameStart():
                    raise UserError(
                        "a true simulator cannot start from an image: it needs the pose of every "
                        "object, which no image gives; use SeedStart or EpisodeStart, or the "
                        "learned simulator"
                    )
            self._look(world)
        return self._observation()

    def step(self, actions: Float[np.ndarray, "b stride a"]) -> Observation:
        """Take the native actions, in stored units, that lie between this frame and the next.

        Raises:
            ValueError: another shape than (`batch`, `spec.stride`, action size), a number that is
                not finite, or a world that was never reset.
        """
        actions = np.asarray(actions, np.float32)
        expected = (self.batch, self._spec.stride, len(self._kind.action.names))
        if actions.shape != expected:
            raise UserError(f"expected actions of shape {expected}, got {actions.shape}")
        if not np.isfinite(actions).all():
            raise UserError("expected finite actions, got NaN or infinite ones")
        self._check_begun()
        for world, native in zip(self.worlds, actions, strict=True):
            for action in native:
                world.scene.step(action)
            self._look(world)
        return self._observation()

    def look(self) -> Observation:
        """Render all worlds as they are: for whoever steps their scenes without `step`.

        Raises:
            ValueError: a world was never reset.
        """
        self._check_begun()
        for world in self.worlds:
            self._look(world)
        return self._observation()

    def snapshot(self) -> Snapshot:
        """Copy all worlds, physics and controllers; stepping afterwards leaves the copy alone.

        Raises:
            ValueError: a world was never reset.
        """
        self._check_begun()
        copies = [
            (world.scene.capture(), world.seen, world.seed, world.behaviour)
            for world in self.worlds
        ]
        return Snapshot(_Content(task=self._task, spec=self._spec, worlds=copies), len(copies))

    def restore(
        self, snapshot: Snapshot, *, where: Mask | None = None, index: Index | None = None
    ) -> Observation:
        """Go on from a snapshot of a simulator of the same task and spec; see the protocol.

        Raises:
            ValueError: a snapshot of something else, or another number of worlds than `where`
                chooses.
        """
        content = snapshot.content
        mine = (self._task, self._spec)
        if not isinstance(content, _Content) or (content.task, content.spec) != mine:
            raise UserError(
                f"this snapshot is not of a true simulator of {self._task} with the same cameras "
                "and rates"
            )
        copies = content.worlds if index is None else [content.worlds[i] for i in index]
        if where is None:
            self._resize(len(copies))
        chosen = self._chosen(where)
        if len(copies) != len(chosen):
            raise UserError(
                f"expected one world of the snapshot for each of {len(chosen)}, got {len(copies)}"
            )
        for world, (captured, seen, seed, behaviour) in zip(chosen, copies, strict=True):
            world.scene.restore(captured)
            world.seen, world.seed, world.behaviour = seen, seed, behaviour
            self._dress(world)
        return self._observation()

    def close(self) -> None:
        """Free the graphics contexts."""
        renderers = {
            id(renderer): renderer for world in self._pool for renderer in world.renderers.values()
        }
        for renderer in renderers.values():
            renderer.close()
        self._pool, self.worlds = [], []

    def _check_begun(self) -> None:
        """Refuse to go on from a world without a scene."""
        if any(world.seen is None for world in self.worlds):
            raise UserError("a world was never reset: call reset first")

    def _make_spec(self, frame_hz: float, *, words: str) -> WorldSpec:
        """The specification that all worlds share, at a rate of frames."""
        native_hz = self._kind.action.action_hz
        stride = round(native_hz / frame_hz) if frame_hz > 0 else 0
        if stride < 1 or stride * frame_hz != native_hz:
            raise UserError(
                f"frame_hz must divide the {native_hz:g} actions a second of {self._task}, got "
                f"{frame_hz:g}"
            )
        cameras = camera_specs(
            self._cameras, image_size=self._image_size, supersampling=self._supersampling
        )
        return WorldSpec(
            cameras=cameras,
            frame_hz=frame_hz,
            stride=stride,
            action=self._kind.action,
            state_names=self._kind.state_names,
            task=words,
        )

    def _resize(self, batch: int) -> None:
        """Have this many worlds; simulations that were opened before are used again."""
        while len(self._pool) < batch:
            self._pool.append(World(scene=make_scene(self._task, cameras=self._cameras)))
        self.worlds = self._pool[:batch]
        """The worlds, for those who need more than an observation: scripts and tracks."""

    def _chosen(self, where: Mask | None) -> list[World]:
        """The worlds of a mask, all without one."""
        if where is None:
            return list(self.worlds)
        where = np.asarray(where, bool)
        if where.shape != (self.batch,):
            raise UserError(f"expected a mask of {self.batch} worlds, got shape {where.shape}")
        return [world for world, taken in zip(self.worlds, where, strict=True) if taken]

    def _place(self, world: World, seed: int, behaviour: str) -> None:
        """Begin the episode of a seed and behaviour."""
        world.scene.reset(seed, behaviour=behaviour)
        world.seed, world.behaviour = seed, behaviour
        self._dress(world)

    def _dress(self, world: World) -> None:
        """Give a world its seed's look, where looks are random."""
        if self._random_scenes != "none":
            moved = self._cameras if self._random_scenes == "all" else ()
            randomise_look(
                world.scene.model,
                world.scene.data,
                workspace=self._kind.workspace,
                cameras=tuple(name for name in moved if name != WRIST),
                seed=world.seed,
            )

    def _replay(self, world: World, start: EpisodeStart) -> None:
        """Reach a row of a recorded episode, and see that it is the recorded one."""
        dataset, episode, row = start.dataset, start.episode, start.row
        self._check_same_simulator(start)
        actions, states = dataset.actions(episode), dataset.state(episode)
        if not 0 <= row < len(actions):
            raise UserError(
                f"episode {episode} of {dataset.root} has rows 0 to {len(actions) - 1}, got {row}"
            )
        info = dataset.episode_info(episode)
        self._place(world, info.seed, info.behaviour)
        for action in actions[:row]:
            world.scene.step(action)
        drift = float(np.abs(world.scene.state() - states[row]).max())
        if drift > REPLAY_TOLERANCE:
            raise UserError(
                f"replaying episode {episode} of {dataset.root} to row {row} misses the recorded "
                f"state by {drift:.3g} (at most {REPLAY_TOLERANCE:g} is allowed): it was not "
                "recorded by this version of the simulator, or not by `roboscape collect`"
            )

    def _check_same_simulator(self, start: EpisodeStart) -> None:
        """Refuse episodes of other simulators and tasks."""
        spec = start.dataset.spec
        if (spec.source, spec.action.names) != (self._kind.source, self._kind.action.names):
            raise UserError(
                f"{start.dataset.root} was recorded with {spec.source or 'an unnamed source'}, "
                f"not with {self._kind.source}; a true simulator replays its own episodes only"
            )
        if spec.drawn != self._random_scenes:
            raise UserError(
                f"{start.dataset.root} was recorded with random_scenes={spec.drawn!r}, this "
                f"simulator has random_scenes={self._random_scenes!r}; give it the recording's"
            )
        words = start.dataset.episode_info(start.episode).task
        if words != self._spec.task:
            raise UserError(
                f"episode {start.episode} of {start.dataset.root} shows the task {words!r}, and "
                f"this simulator's is {self._spec.task!r}"
            )

    def _look(self, world: World) -> None:
        """Render a world's present frame."""
        images = {
            name: renderer.render(world.scene.data)
            for name, renderer in self._renderers_of(world).items()
        }
        world.seen = _Seen(
            rgb={name: rgb for name, (rgb, _) in images.items()},
            depth_m={name: depth_m for name, (_, depth_m) in images.items()},
            state=world.scene.state(),
            solved=world.scene.solved(),
        )

    def _renderers_of(self, world: World) -> dict[str, SceneRenderer]:
        """A world's renderers, made when it is first looked at."""
        if self._kind.one_model and self._random_scenes == "none":
            self._shared = self._shared or self._new_renderers(world.scene.model)
            world.renderers = self._shared
        elif world.rendered_model is not world.scene.model:
            for renderer in world.renderers.values():
                renderer.close()
            world.renderers = self._new_renderers(world.scene.model)
            world.rendered_model = world.scene.model
        return world.renderers

    def _new_renderers(self, model: Any) -> dict[str, SceneRenderer]:
        return {
            camera.name: SceneRenderer(
                model,
                camera=self._kind.model_camera(camera.name),
                height=camera.height,
                width=camera.width,
                geom_groups=self._kind.geom_groups,
                supersampling=self._supersampling,
            )
            for camera in self._spec.cameras
        }

    def _observation(self) -> Observation:
        """The present observation of all worlds."""
        size = self._image_size
        nothing = _Seen(
            rgb=dict.fromkeys(self._cameras, np.zeros((size, size, 3), np.uint8)),
            depth_m=dict.fromkeys(self._cameras, np.zeros((size, size), np.float32)),
            state=np.zeros(len(self._kind.state_names), np.float32),
            solved=False,
        )
        seen = [world.seen or nothing for world in self.worlds]
        return Observation(
            rgb={name: np.stack([one.rgb[name] for one in seen]) for name in self._cameras},
            depth_m={name: np.stack([one.depth_m[name] for one in seen]) for name in self._cameras},
            state=np.stack([frame.state for frame in seen]),
            success=np.array([frame.solved for frame in seen]),
        )
