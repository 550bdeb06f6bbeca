"""Recording an episode: a script acts in the true simulator, and everything is written down."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import Episode
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import Observation, SeedStart
from roboscape.sources.scene import Scene
from roboscape.sources.true_tracks import TrackRecorder

Actor = Callable[[Observation], Float[np.ndarray, " a"]]
"""Acts in an episode: from each row's observation to its native action."""


def record_episode(
    simulator: MujocoSimulator,
    *,
    seed: int,
    rows: int,
    actor: Actor | None = None,
    behaviour: str = "",
    objects: bool = False,
) -> Episode:
    """The episode of a seed; it depends on nothing else but the actor, where one is given.

    Args:
        simulator: one world, a frame a native action.
        seed: decides behaviour, scene and the script's random choices.
        rows: length. Row t is what is to be seen before action t. `reward` is 1 in every row that
            shows the task solved, and `success` says whether there is such a row.
        actor: acts in the place of the behaviour's script.
        behaviour: how the dataset calls what the actor does; needed with one.
        objects: whether it is recorded where objects are.
    """
    observation = simulator.reset([SeedStart(seed=seed)])
    (world,) = simulator.worlds
    if actor is None:
        actor, behaviour = _scripted(simulator, seed), world.behaviour
    tracks = _started_tracks(simulator, observation, seed=seed)
    seen, actions, places = [observation], [actor(observation)], [world.scene.objects()]
    for _ in range(rows - 1):
        observation = simulator.step(actions[-1][None, None])
        for name, recorder in tracks.items():
            recorder.record(world.scene.data, observation.depth_m[name][0])
        seen.append(observation)
        places.append(world.scene.objects())
        actions.append(actor(observation))
    solved = [bool(frame.success is not None and frame.success[0]) for frame in seen]
    return Episode(
        frames={name: np.concatenate([frame.rgb[name] for frame in seen]) for name in tracks},
        depth_m={name: np.concatenate([frame.depth_m[name] for frame in seen]) for name in tracks},
        actions=np.stack(actions).astype(np.float32),
        state=np.concatenate([frame.state for frame in seen]),
        objects=np.stack(places) if objects else None,
        reward=np.array(solved, np.float32),
        task=simulator.spec.task,
        success=any(solved),
        seed=seed,
        behaviour=behaviour,
        tracks={name: recorder.finish() for name, recorder in tracks.items()},
    )


def record_numbers(scene: Scene, *, seed: int, behaviour: str, rows: int) -> Episode:
    """The episode that `record_episode` records, without pictures and several times as quickly.

    Args:
        scene: a world without renderers.
        seed: as in `record_episode`.
        behaviour: whose script acts.
        rows: length.
    """
    scene.reset(seed, behaviour=behaviour)
    script = scene.script(seed, behaviour=behaviour)
    return numbers_of(
        scene, lambda: script(scene.view()), seed=seed, behaviour=behaviour, rows=rows
    )


def numbers_of(
    scene: Scene,
    act: Callable[[], Float[np.ndarray, " a"]],
    *,
    seed: int,
    behaviour: str,
    rows: int,
) -> Episode:
    """An episode without pictures in a scene that has begun.

    Args:
        scene: at the first row.
        act: the action of a row; called once a row, before the scene takes it.
        seed: which the scene began with.
        behaviour: how the dataset calls what acts.
        rows: length.
    """
    states, places, solved, actions = [], [], [], []
    for row in range(rows):
        if row:
            scene.step(actions[-1])
        states.append(scene.state())
        places.append(scene.objects())
        solved.append(scene.solved())
        actions.append(np.asarray(act(), np.float32))
    return Episode(
        frames={},
        depth_m={},
        actions=np.stack(actions),
        state=np.stack(states),
        objects=np.stack(places),
        reward=np.array(solved, np.float32),
        task=scene.task,
        success=any(solved),
        seed=seed,
        behaviour=behaviour,
        tracks={},
    )


def _started_tracks(
    simulator: MujocoSimulator, observation: Observation, *, seed: int
) -> dict[str, TrackRecorder]:
    """Recorders of the true tracks by camera, whose first row is written."""
    (world,) = simulator.worlds
    tracks = {}
    for camera in simulator.spec.cameras:
        recorder = TrackRecorder(world.scene.model, world.renderers[camera.name])
        # Every camera's points are drawn from the seed alone, whichever others there are.
        recorder.start(
            world.scene.data,
            observation.depth_m[camera.name][0],
            generator=numpy_generator_for(seed, 3),
        )
        tracks[camera.name] = recorder
    return tracks


def _scripted(simulator: MujocoSimulator, seed: int) -> Actor:
    """The script of the episode that has begun; it reads the scene, not the observation."""
    (world,) = simulator.worlds
    script = world.scene.script(seed, behaviour=world.behaviour)

    def act(observation: Observation) -> Float[np.ndarray, " a"]:
        del observation
        return script(world.scene.view())

    return act
