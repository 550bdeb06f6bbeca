"""Depth from video."""

from collections.abc import Callable

from roboscape.annotate.backends import DepthAnnotator
from roboscape.dataset.reader import LeRobotDataset

DEPTH_ANNOTATORS: dict[str, Callable[[], DepthAnnotator]] = {}
"""Everything that can estimate depth, by name; recordings that bring their own need none."""


def check_recorded_depth(dataset: LeRobotDataset, *, cameras: tuple[str, ...]) -> None:
    """Make sure that a dataset brings its own depth, of a simulator or a sensor.

    Raises:
        ValueError: a camera has none.
    """
    with_depth = {camera.name for camera in dataset.spec.cameras if camera.has_depth}
    missing = [camera for camera in cameras if camera not in with_depth]
    if missing:
        known = ", ".join(DEPTH_ANNOTATORS) or "this installation has none"
        raise ValueError(
            f"{dataset.root} recorded no depth for {', '.join(missing)}; name an annotator that "
            f"estimates it ({known}), or `--depth none`"
        )
