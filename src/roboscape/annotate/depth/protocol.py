"""Depth from video: who can estimate it."""

from roboscape.annotate.backends import Backend, DepthAnnotator
from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset

DEPTH_ANNOTATORS: dict[str, Backend[DepthAnnotator]] = {
    "depth_anything_v2": Backend(
        module="roboscape.annotate.depth.anything",
        kind="DepthAnything",
        summary="Depth Anything V2, relative, aligned over time; metres from a known distance.",
        gpu=True,
        pretrained=True,
    ),
    "depth_anything_v2_metric": Backend(
        module="roboscape.annotate.depth.anything",
        kind="DepthAnything",
        summary="Depth Anything V2 fine-tuned to metres indoors, aligned over time.",
        gpu=True,
        pretrained=True,
        settings={"checkpoint": "metric_indoor_small"},
    ),
    "video_depth_anything": Backend(
        module="roboscape.annotate.depth.video",
        kind="VideoDepthAnything",
        summary="Video Depth Anything in metres, the paper's (needs its authors' package).",
        gpu=True,
        pretrained=True,
    ),
}
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
        raise UserError(
            f"{dataset.root} recorded no depth for {', '.join(missing)}; name an annotator that "
            f"estimates it ({known}), or `--depth none`"
        )
