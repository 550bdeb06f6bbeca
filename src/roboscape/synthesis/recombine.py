"""Demonstrations' actions from other starts, moved by as much as the object lies elsewhere.

As in MimicGen (Mandlekar et al. 2023), a demonstration is fitted to another scene by the object's
place relative to the hand. Here nothing of the scene is known but the first frame: the object is
found in RGB-D and put into the world by the camera's pose, and the arm model turns the missing
displacement into commands. What comes of it is imagined, and judged, not assumed.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.cameras import CameraPose, camera_pose, hand_pose, unproject
from roboscape.dataset.records import DatasetSpec
from roboscape.simulators.lift_cube import cube_patch
from roboscape.simulators.protocol import EpisodeStart, FrameStart
from roboscape.synthesis.plan import Demonstrations, Plan, fitted, grasp_row
from roboscape.synthesis.reach import ArmRange, Reach
from roboscape.synthesis.starts import StartOfPlan

NEAREST = 5
"""One of so many demonstrations is drawn whose start is most like the new one."""
TURN_WEIGHT_M = 0.1
"""Metres that a radian between two hands' directions counts as."""
AIMED_M = 0.01
"""A hand that the arm model does not bring this close to its place is not tried."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The objects and the hand in the first frame of a start."""

    hand_m: Float[np.ndarray, "3"]
    hand_to_world: Float[np.ndarray, "3 3"]
    object_m: Float[np.ndarray, "3"]

    def distance_m(self, other: "Scene") -> float:
        """The unlikeness of two starts for a hand that goes to the object, in metres."""
        apart = (self.object_m - self.hand_m) - (other.object_m - other.hand_m)
        cosine = (np.trace(self.hand_to_world.T @ other.hand_to_world) - 1) / 2
        turn_rad = float(np.arccos(np.clip(cosine, -1, 1)))
        return float(np.linalg.norm(apart)) + TURN_WEIGHT_M * turn_rad


@dataclass(frozen=True)
class Recombine:
    """Demonstrations' actions from the starts of other episodes or seeds."""

    demonstrations: Demonstrations
    reach: Reach
    start_of: StartOfPlan
    """Where the episode of a seed begins."""
    camera: str
    """In which the object is looked for."""
    rows: int
    """Native rows of an imagined episode."""
    most_excess: float = 0.5
    """How far the arm model's states may leave the demonstrations' range, in deviations."""

    @cached_property
    def range(self) -> ArmRange:
        """The range of the demonstrations' states."""
        known = self.demonstrations
        return ArmRange.of(np.concatenate([known.dataset.state(e) for e in known.episodes]))

    @cached_property
    def scenes(self) -> dict[int, Scene]:
        """The scenes of the demonstrations that close the gripper on what is seen, by place."""
        known, found = self.demonstrations, {}
        for place, episode in enumerate(known.episodes):
            first = slice(0, 1)
            scene = scene_of(
                known.dataset.spec,
                camera=self.camera,
                rgb=known.dataset.frames(episode, self.camera, first)[0],
                depth_m=known.dataset.depth_m(episode, self.camera, first)[0],
                state=known.first_states[place],
            )
            if scene is not None and grasp_row(known.actions[place], known.convention):
                found[place] = scene
        if not found:
            raise UserError(
                f"in no demonstration of {known.dataset.root} Lift's red cube is seen and an open "
                "gripper closes, so none can be moved to another start; use --actions perturb"
            )
        return found

    def plan(self, seed: int, *, number: int) -> Plan:
        """A demonstration moved to the start of a seed; see the protocol."""
        start, split, task, about = self.start_of(seed)
        rgb, depth_m, state = seen_at(start, self.camera)
        spec = self.demonstrations.dataset.spec
        scene = scene_of(spec, camera=self.camera, rgb=rgb, depth_m=depth_m, state=state)
        if scene is None:
            raise UserError(
                f"the start of seed {seed} ({about}) shows no red cube, so no demonstration can be "
                "moved to it; leave it out with another --seed"
            )
        ranked = sorted(self.scenes, key=lambda place: self.scenes[place].distance_m(scene))
        drawn = numpy_generator_for(seed, 22).permutation(min(NEAREST, len(ranked)))
        tried = []
        for place in [*(ranked[i] for i in drawn), *ranked[NEAREST : 3 * NEAREST]]:
            actions, missed_m, excess = self._moved(place, scene, state)
            tried.append(missed_m)
            if missed_m <= AIMED_M and excess <= self.most_excess:
                return Plan(
                    seed=seed,
                    start=start,
                    actions=actions,
                    split=split,
                    task=task,
                    origin={
                        "source": "recombine",
                        "demonstration": self.demonstrations.episodes[place],
                        **about,
                        "offset_m": self._offset_m(place, scene).tolist(),
                        "aim_error_m": missed_m,
                        "range_excess": excess,
                    },
                )
        raise UserError(
            f"no demonstration reaches the object from the start of seed {seed}: the arm model "
            f"misses by {min(tried):.3f} m or more, or leaves the demonstrations' range; give more "
            "demonstrations"
        )

    def _offset_m(self, place: int, scene: Scene) -> Float[np.ndarray, "3"]:
        """The way that the hand must go beyond that of a demonstration, in metres."""
        before = self.scenes[place]
        return (scene.object_m - scene.hand_m) - (before.object_m - before.hand_m)

    def _moved(
        self, place: int, scene: Scene, state: Float[np.ndarray, " s"]
    ) -> tuple[np.ndarray, float, float]:
        """A demonstration's actions moved to a scene, what they miss, and leave the range by."""
        known = self.demonstrations
        recorded = known.actions[place]
        row = grasp_row(recorded, known.convention)
        assert row is not None
        # Where the hand closed beside the object in the demonstration, so it does here.
        closed_m = self.reach.hand_m(recorded[:row], known.first_states[place])[-1]
        goal_m = closed_m - self.scenes[place].object_m + scene.object_m
        actions, missed_m = self.reach.aimed(recorded, state, row=row, place_m=goal_m)
        actions = fitted(actions, rows=self.rows, convention=known.convention)
        return actions, missed_m, float(self.range.excess(self.reach.states(actions, state)))


def scene_of(
    spec: DatasetSpec,
    *,
    camera: str,
    rgb: UInt8[np.ndarray, "h w 3"],
    depth_m: Float[np.ndarray, "h w"],
    state: Float[np.ndarray, " s"],
) -> Scene | None:
    """The hand and Lift's cube in the world; None where no cube is seen.

    Raises:
        ValueError: the dataset does not say where its camera is.
    """
    patch = cube_patch(rgb)
    if patch is None:
        return None
    pose: CameraPose = camera_pose(spec, camera, state)
    row, column = np.nonzero(patch)
    pixels = np.stack([column, row, depth_m[patch]], axis=1).astype(np.float64)
    hand_m, hand_to_world = hand_pose(spec.state_names, state)
    return Scene(
        hand_m=hand_m,
        hand_to_world=hand_to_world,
        object_m=np.median(unproject(pixels, pose), axis=0),
    )


def seen_at(
    start: EpisodeStart | FrameStart, camera: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB, depth in metres and state at a start."""
    if isinstance(start, FrameStart):
        return start.rgb[camera], start.depth_m[camera], np.asarray(start.state, np.float32)
    rows = slice(start.row, start.row + 1)
    return (
        start.dataset.frames(start.episode, camera, rows)[0],
        start.dataset.depth_m(start.episode, camera, rows)[0],
        start.dataset.state(start.episode)[start.row],
    )
