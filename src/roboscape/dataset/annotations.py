"""Estimates about a dataset, kept beside it: point tracks, depth, cuts and more.

An annotations folder holds one folder per annotator, `<kind>_<name>`, e.g. `depth_<name>`, with a
`provenance.json` and one file per camera and episode. Every write is whole or absent, so the files
that are there show what remains to be done.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Float32

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.core.settings import differences
from roboscape.core.video import VideoWriter, count_frames, read_frames
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.hub import home_of
from roboscape.dataset.records import Tracks
from roboscape.dataset.staging import clear_when_disk_is_full

AnnotationKind = Literal["tracks", "depth", "cuts", "motion", "segments", "categories"]

SIMULATOR = "simulator"
"""The annotator of true tracks, which came with the episodes."""
NONE = "none"
"""Name that stands for no annotator in commands."""
_SAFE = "annotations of the episodes before are safe, this one was not written"
_SUFFIXES: dict[AnnotationKind, str] = {
    "tracks": ".npz",
    "depth": ".mp4",
    "cuts": ".json",
    "motion": ".json",
    "segments": ".json",
    "categories": ".json",
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The record of how one folder's annotations were made: enough to make them again."""

    kind: AnnotationKind
    """What the annotations are."""
    name: str
    """The annotator, e.g. `simulator`, `grid_flow` or `depth_anything`."""
    version: str
    """Its version or the revision of its weights."""
    settings: dict[str, Any]
    """Its settings, as plain JSON values."""
    depth: DepthCodec | None = None
    """How depth is stored; only for `depth`."""
    fps: float | None = None
    """Frame rate of the depth videos; only for `depth`."""

    def __post_init__(self) -> None:
        """Refuse depth that could not be read back."""
        if self.kind == "depth" and (self.depth is None or self.fps is None):
            raise UserError("a depth annotation needs `depth` (its codec) and `fps`, got none")


def annotations_folder(dataset: Path) -> Path:
    """The folder of annotations of a writable dataset, or of one on a hub (`hf://owner/name`)."""
    return home_of(dataset) / "annotations"


def begin_annotation(root: Path, provenance: Provenance) -> None:
    """Write the provenance of an annotator's folder, or check that it is the same as before.

    Args:
        root: an annotations folder: `annotations_folder(dataset)`, or any other for a dataset that
            cannot be written to.
        provenance: who is about to write.

    Raises:
        ValueError: the folder holds annotations made with other settings.
    """
    path = _folder(root, kind=provenance.kind, annotator=provenance.name) / "provenance.json"
    # Through JSON and back, so that tuples compare equal to the lists they become.
    content = json.loads(json.dumps(asdict(provenance), default=str))
    if path.exists() and (different := differences(read_json(path), content)):
        raise UserError(
            f"{path.parent} holds annotations made differently ({different}); mixing them would be "
            "wrong: delete the folder to make them anew, or write to another folder"
        )
    if not path.exists():
        write_json(path, content)


def read_provenance(root: Path, *, kind: AnnotationKind, annotator: str) -> Provenance:
    """The provenance of one folder of annotations."""
    path = _folder(root, kind=kind, annotator=annotator) / "provenance.json"
    if not path.exists():
        names = ", ".join(f"{one.kind} by {one.name}" for one in annotators(root)) or "none"
        raise UserError(
            f"{root} holds no {kind} by {annotator!r} (it holds: {names}); run `roboscape "
            "annotate` first, or name one of those"
        )
    return config_from_dict(Provenance, read_json(path), where=str(path))


def annotators(root: Path) -> tuple[Provenance, ...]:
    """The provenance of every folder of annotations."""
    return tuple(
        config_from_dict(Provenance, read_json(path), where=str(path))
        for path in sorted(root.glob("*/provenance.json"))
    )


def annotator_of(root: Path, kind: AnnotationKind, *, asked: str | None) -> str:
    """The annotator asked for; else the simulator, else the only one; empty without one.

    Raises:
        ValueError: none was asked for, and there are several.
    """
    if asked is not None:
        return "" if asked == NONE else asked
    names = [one.name for one in annotators(root) if one.kind == kind]
    if SIMULATOR in names:
        return SIMULATOR
    if len(names) > 1:
        raise UserError(
            f"{root} holds {kind} by {', '.join(names)}; name one of them, as in "
            f"`--{kind} {names[0]}`"
        )
    return "".join(names)


def annotated_episodes(
    root: Path, *, kind: AnnotationKind, annotator: str, camera: str
) -> frozenset[int]:
    """Episodes that an annotator has finished for one camera."""
    folder = _folder(root, kind=kind, annotator=annotator) / camera
    files = folder.glob(f"episode_[0-9]*{_SUFFIXES[kind]}")
    return frozenset(int(path.stem.removeprefix("episode_")) for path in files)


def write_tracks(root: Path, tracks: Tracks, *, annotator: str, camera: str, episode: int) -> None:
    """Keep the tracks of one episode as seen by one camera, atomically."""
    path = _file(root, kind="tracks", annotator=annotator, camera=camera, episode=episode)
    arrays = {"xy_px": tracks.xy_px.astype(np.float32), "visible": tracks.visible}
    if tracks.on_moving_body is not None:
        arrays["on_moving_body"] = tracks.on_moving_body
    with clear_when_disk_is_full(root, safe=_SAFE), atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_tracks(root: Path, *, annotator: str, camera: str, episode: int) -> Tracks:
    """Tracks of one episode as seen by one camera."""
    path = _file(root, kind="tracks", annotator=annotator, camera=camera, episode=episode)
    _require(path, kind="tracks", annotator=annotator)
    try:
        with np.load(path) as arrays:
            return Tracks(
                xy_px=arrays["xy_px"],
                visible=arrays["visible"],
                on_moving_body=arrays.get("on_moving_body"),
            )
    except (BadZipFile, KeyError, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{path} does not hold tracks ({error}); delete it and annotate again"
        ) from error


def write_depth(
    root: Path,
    depth_m: Float[np.ndarray, "t h w"],
    *,
    annotator: str,
    camera: str,
    episode: int,
) -> None:
    """Keep the estimated depth of one episode, atomically; `begin_annotation` comes first."""
    provenance = read_provenance(root, kind="depth", annotator=annotator)
    assert provenance.depth is not None and provenance.fps is not None
    codes = provenance.depth.encode(depth_m)
    path = _file(root, kind="depth", annotator=annotator, camera=camera, episode=episode)
    _, height, width = codes.shape
    with (
        clear_when_disk_is_full(root, safe=_SAFE),
        atomic_path(path) as temporary,
        VideoWriter(
            temporary, fps=provenance.fps, height=height, width=width, pixels="codes"
        ) as writer,
    ):
        writer.write(codes)


def read_depth(
    root: Path, *, annotator: str, camera: str, episode: int, rows: slice | None = None
) -> Float32[np.ndarray, "t h w"]:
    """Estimated depth of one episode, or of some of its rows, in metres."""
    provenance = read_provenance(root, kind="depth", annotator=annotator)
    assert provenance.depth is not None and provenance.fps is not None
    path = _file(root, kind="depth", annotator=annotator, camera=camera, episode=episode)
    _require(path, kind="depth", annotator=annotator)
    wanted = range(count_frames(path))[rows or slice(None)]
    codes = read_frames(path, fps=provenance.fps, wanted=wanted, pixels="codes")
    return provenance.depth.decode(codes)


def write_values(
    root: Path,
    values: dict[str, Any],
    *,
    kind: AnnotationKind,
    annotator: str,
    camera: str,
    episode: int,
) -> None:
    """Keep what is plain numbers and words about one episode (cuts, motion, ...), atomically."""
    _require_values(kind)
    path = _file(root, kind=kind, annotator=annotator, camera=camera, episode=episode)
    with clear_when_disk_is_full(root, safe=_SAFE):
        write_json(path, values)


def read_values(
    root: Path, *, kind: AnnotationKind, annotator: str, camera: str, episode: int
) -> dict[str, Any]:
    """The values that `write_values` kept."""
    _require_values(kind)
    path = _file(root, kind=kind, annotator=annotator, camera=camera, episode=episode)
    _require(path, kind=kind, annotator=annotator)
    return read_json(path)


def _require_values(kind: AnnotationKind) -> None:
    """Tracks and depth have files of their own form."""
    assert _SUFFIXES[kind] == ".json", f"{kind} is not kept as values"


def _folder(root: Path, *, kind: AnnotationKind, annotator: str) -> Path:
    return root / f"{kind}_{annotator}"


def _file(root: Path, *, kind: AnnotationKind, annotator: str, camera: str, episode: int) -> Path:
    folder = _folder(root, kind=kind, annotator=annotator)
    return folder / camera / f"episode_{episode:06d}{_SUFFIXES[kind]}"


def _require(path: Path, *, kind: AnnotationKind, annotator: str) -> None:
    """Say what is missing rather than that a file does not exist."""
    if path.exists():
        return
    root = path.parents[2]
    others = [one.name for one in annotators(root) if one.kind == kind and one.name != annotator]
    if not _folder(root, kind=kind, annotator=annotator).exists() and others:
        what = f"there are {kind} by {', '.join(others)}: name one of them (--{kind} {others[0]})"
    else:
        what = (
            "that episode is not annotated yet: run `roboscape annotate` again, it continues where "
            "it stopped"
        )
    raise UserError(f"expected {kind} by {annotator!r} at {path}, found none; {what}")
