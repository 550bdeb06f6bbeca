"""A dataset as lerobot's trainer should see it: some cameras, no depth, by links to the files.

lerobot gives a policy every image feature of a dataset. It would decode depth videos for each
sample and hand them to the network as a picture of another shape, which most policies refuse.
"""

from collections.abc import Sequence
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json

IMAGES = "observation.images."


def write_view(dataset: Path, view: Path, *, cameras: Sequence[str]) -> None:
    """Write a dataset folder that has the RGB images of some cameras and links to the rest.

    Args:
        dataset: LeRobot v3 dataset.
        view: is replaced if it is there.
        cameras: whose images stay.

    Raises:
        ValueError: the dataset has no such camera.
    """
    info = read_json(dataset / "meta" / "info.json")
    wanted = {f"{IMAGES}{name}" for name in cameras}
    if missing := wanted - set(info["features"]):
        raise UserError(f"{dataset} has no {', '.join(sorted(missing))}")
    dropped = {key for key in info["features"] if key.startswith(IMAGES)} - wanted
    with atomic_path(view) as temporary:
        (temporary / "meta").mkdir(parents=True)
        for entry in (*dataset.iterdir(), *(dataset / "meta").iterdir()):
            place = temporary / entry.relative_to(dataset)
            if entry.name not in ("meta", "info.json", "stats.json"):
                place.symlink_to(entry.resolve())
        kept = {key: value for key, value in info["features"].items() if key not in dropped}
        write_json(temporary / "meta" / "info.json", {**info, "features": kept})
        stats = read_json(dataset / "meta" / "stats.json")
        kept = {key: value for key, value in stats.items() if key not in dropped}
        write_json(temporary / "meta" / "stats.json", kept)
