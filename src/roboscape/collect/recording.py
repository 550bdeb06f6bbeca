"""Recording an episode: a script acts in the true simulator, and everything is written down."""

import numpy as np

from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import Episode
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import SeedStart
from roboscape.sources.true_tracks import TrackRecorder


def record_episode(simulator: MujocoSimulator, *, seed: int, rows: int) -> Episode:
    """The episode of a seed; it depends on nothing else.

    Args:
        simulator: one world, a frame a native action.
        seed: decides behaviour, scene and the script's random choices.
        rows: length. Row t is what is to be seen before action t. `reward` is 1 in every row that
            shows the task solved, and `success` says whether there is such a row.
    """
    observation = simulator.reset([SeedStart(seed=seed)])
    (world,) = simulator.worlds
    script = world.scene.script(seed, behaviour=world.behaviour)
    # Every camera's points are drawn from the seed alone, whichever others there are.
    tracks = {
        camera.name: TrackRecorder(world.scene.model, world.renderers[camera.name])
        for camera in simulator.spec.cameras
    }
    for name, recorder in tracks.items():
        recorder.start(
            world.scene.data,
            observation.depth_m[name][0],
            generator=numpy_generator_for(seed, 3),
        )
    seen, actions = [observation], [script(world.scene.view())]
    for _ in range(rows - 1):
        observation = simulator.step(actions[-1][None, None])
        for name, recorder in tracks.items():
            recorder.record(world.scene.data, observation.depth_m[name][0])
        seen.append(observation)
        actions.append(script(world.scene.view()))
    solved = [bool(frame.success is not None and frame.success[0]) for frame in seen]
    return Episode(
        frames={name: np.concatenate([frame.rgb[name] for frame in seen]) for name in tracks},
        depth_m={name: np.concatenate([frame.depth_m[name] for frame in seen]) for name in tracks},
        actions=np.stack(actions).astype(np.float32),
        state=np.concatenate([frame.state for frame in seen]),
        reward=np.array(solved, np.float32),
        task=simulator.spec.task,
        success=any(solved),
        seed=seed,
        behaviour=world.behaviour,
        tracks={name: recorder.finish() for name, recorder in tracks.items()},
    )
