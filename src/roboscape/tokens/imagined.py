"""Imagined states, computed once into a token store: one array a shard, beside the codes.

What a clip's control signals need of `Proprioception` depends on the row that the clip starts in,
for the model begins with the state recorded there. So the array of a shard holds, for every native
row taken as a start, the states at the first `frames` frames of its clip. A clip's later states do
not change its earlier ones: shorter clips read a part.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int

from roboscape.controls.proprioception import Proprioception
from roboscape.core.files import atomic_path, remove
from roboscape.tokens.state_reader import StateReader

AT_ONCE = 4096
"""Starts imagined together; memory grows with it."""
FRAMES_READ = 512
"""Frames whose objects are read together."""
PREFIX = "imagined_"


def file_name(
    model: Proprioception, *, reader: StateReader | None, stride: int, frames: int
) -> str:
    """Name of the array: a digest of the models, the stride and the number of frames.

    Arrays of two models can lie side by side, so a store that is made anew can be read meanwhile.
    """
    digest = hashlib.sha256(json.dumps([asdict(model.config), stride, frames]).encode())
    for part in (model, reader):
        weights = {} if part is None else part.state_dict()
        for name, tensor in sorted(weights.items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return f"{PREFIX}{digest.hexdigest()[:16]}.npy"


def write_imagined(
    folder: Path,
    model: Proprioception,
    *,
    reader: StateReader | None = None,
    lengths: list[int],
    stride: int,
    frames: int,
) -> str:
    """Write the array of one shard where it is missing, whole or not at all; returns its name.

    Args:
        folder: The shard, with its tokens, actions and states.
        model: The model that imagines them.
        reader: Reads positions of objects off the tokens, for a model that takes them.
        lengths: Rows of each of its episodes.
        stride: Native rows between two frames.
        frames: Frames of a clip.
    """
    path = folder / file_name(model, reader=reader, stride=stride, frames=frames)
    if not path.is_file():
        actions, states = np.load(folder / "actions.npy"), np.load(folder / "state.npy")
        objects = None if reader is None else read_objects(folder, reader)
        ends = np.cumsum(lengths)
        parts = [
            imagined_states(
                model,
                actions[end - rows : end],
                states[end - rows : end],
                objects=None if objects is None else objects[end - rows : end],
                stride=stride,
                frames=frames,
            )
            for rows, end in zip(lengths, ends, strict=True)
        ]
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(parts))
    return path.name


def imagined_states(
    model: Proprioception,
    actions: Float32[np.ndarray, "rows a"],
    states: Float32[np.ndarray, "rows s"],
    *,
    objects: Float32[np.ndarray, "rows o"] | None = None,
    stride: int,
    frames: int,
) -> Float32[np.ndarray, "rows frames s"]:
    """The states at the frames of the clip from every row of an episode.

    Frames beyond the episode's end hold what would come of repeating its last action; no clip that
    fits into the episode has such a frame.
    """
    rows = len(actions)
    starts = np.arange(rows)
    steps = (frames - 1) * stride
    parts = []
    for some in np.array_split(starts, -(-rows // AT_ONCE)):
        taken: Int[np.ndarray, "b n"] = np.minimum(some[:, None] + np.arange(steps), rows - 1)
        imagined = model.imagine(
            actions[taken],
            states[some],
            state_before=states[np.maximum(some - 1, 0)],
            objects=None if objects is None else objects[some],
        )
        parts.append(imagined[:, ::stride].astype(np.float32))
    return np.concatenate(parts)


def read_objects(folder: Path, reader: StateReader) -> Float32[np.ndarray, "rows o"]:
    """Positions of objects in every row of a shard, read off its tokens."""
    rgb, depth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rgb", "depth"))
    found = []
    for start in range(0, len(rgb), FRAMES_READ):
        rows = slice(start, start + FRAMES_READ)
        tokens = torch.from_numpy(np.array(rgb[rows], np.int32))
        # A store without depth has an array of no tokens, of none where a clip has none.
        beside = torch.from_numpy(np.array(depth[rows], np.int32)) if depth.shape[1] else None
        found.append(reader.read(tokens, beside))
    return np.concatenate(found)


def remove_others(folder: Path, *, keep: str) -> None:
    """Delete the arrays of other models from a shard."""
    for path in folder.glob(f"{PREFIX}*.npy"):
        if path.name != keep:
            remove(path)
