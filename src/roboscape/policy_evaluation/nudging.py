"""Starts whose objects are told to the arm model a little elsewhere than they are seen.

Whether a grasp holds is decided by less than the error that the object's place is read with. An
episode that ends otherwise when the object is taken to lie half a centimetre beside it was decided
by that error: its outcome is not to be trusted.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.videos import encode_videos, first_objects
from roboscape.simulators.beginnings import BeginningReader
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart, Start

STREAM = 9
"""Of the random numbers, apart from those of a policy with the same seed."""


def nudged(
    starts: Mapping[int, Start], simulator: LearnedSimulator, *, number: int, by_m: float
) -> dict[int, Start]:
    """The same starts, their objects moved along the table.

    Args:
        starts: by seed.
        simulator: that they begin.
        number: of the repetition; each moves them elsewhere, always to the same place.
        by_m: standard deviation along x and along y, in metres.

    Raises:
        ValueError: the bundle does not read where objects are.
    """
    check_reads_objects(simulator.bundle)
    names = simulator.bundle.controls.object_names
    level = np.array([not name.endswith("_z") for name in names])
    reader = BeginningReader(bundle=simulator.bundle, cameras=simulator.cameras)
    found: dict[int, Start] = {}
    for seed, start in starts.items():
        assert isinstance(start, FrameStart), "evaluations begin with a frame of the true simulator"
        codes = encode_videos(simulator.bundle.tokenizer, reader.read(start).frames)
        seen = first_objects(simulator.bundle, codes)
        assert seen is not None
        moved = numpy_generator_for(seed, STREAM, number).normal(scale=by_m, size=len(names))
        objects = (seen[0] + level * moved).astype(np.float32)
        found[seed] = replace(start, objects=objects)
    return found


def check_reads_objects(bundle: Bundle) -> None:
    """Refuse a bundle that does not read where objects are.

    Raises:
        ValueError: it does not.
    """
    if bundle.object_reader is None:
        raise UserError(
            "--nudges needs a bundle whose arm model is told where objects are (`lift`), and this "
            "one is not; evaluate without --nudges"
        )
