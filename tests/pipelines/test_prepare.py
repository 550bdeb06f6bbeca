"""Preparing: the command that it ends with."""

from pathlib import Path

import pytest

from roboscape.dataset.records import CameraSpec
from roboscape.pipelines.prepare import learn_command


@pytest.mark.parametrize(
    ("folder", "size", "command"),
    [
        ("data/mine", 128, "roboscape learn data/mine --from general --output runs/mine"),
        ("data/mine", 256, "roboscape learn data/mine --output runs/mine"),
        ("my data/a", 256, "roboscape learn 'my data/a' --output runs/a"),
    ],
)
def test_images_of_the_general_bundles_size_are_learnt_from_it(folder, size, command):
    camera = CameraSpec(name="front", height=size, width=size)
    assert learn_command(Path(folder), camera=camera) == command
