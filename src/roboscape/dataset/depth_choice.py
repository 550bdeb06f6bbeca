"""Depth by the name that commands give it: `recorded`, `none`, or its annotator."""

import numpy as np
from jaxtyping import Float32

from roboscape.dataset.annotations import NONE, annotations_folder, annotator_of, read_depth
from roboscape.dataset.reader import LeRobotDataset

RECORDED = "recorded"


def depth_source(dataset: LeRobotDataset, *cameras: str) -> str:
    """The source of some cameras' depth: recorded, else its only annotator, else `none`.

    `none` too where the cameras have no source in common.

    Raises:
        ValueError: several annotators estimated it.
    """
    recorded = {spec.name for spec in dataset.spec.cameras if spec.has_depth}
    if set(cameras) <= recorded:
        return RECORDED
    if recorded.intersection(cameras):
        return NONE
    return annotator_of(annotations_folder(dataset.root), "depth", asked=None) or NONE


def depth_from(
    dataset: LeRobotDataset,
    episode: int,
    *,
    camera: str,
    depth: str,
    rows: slice | None = None,
) -> Float32[np.ndarray, "t h w"] | None:
    """Depth of some rows of an episode, in metres; None where none is wanted.

    Raises:
        ValueError: the camera recorded none, or no annotator of that name estimated it.
    """
    if depth == NONE:
        return None
    if depth == RECORDED:
        return dataset.depth_m(episode, camera, rows)
    root = annotations_folder(dataset.root)
    return read_depth(root, annotator=depth, camera=camera, episode=episode, rows=rows)
