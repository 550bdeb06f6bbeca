"""Exported files run by ONNX Runtime: no torch, and little to translate into other languages.

Axes as in `graphs.py`: m modality, b world, h height, w width, n token, s state, a action number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from roboscape.core.errors import UserError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ExportedFrame:
    """One frame of every world."""

    rgb: UInt8[np.ndarray, "b h w 3"]
    """Of several cameras below each other."""
    depth_m: Float32[np.ndarray, "b h w"] | None
    """None where the model has no depth."""
    codes: Int[np.ndarray, "m b n"]
    confidence: Float32[np.ndarray, "m b n"]
    """Probability of every chosen token; 1 in a given frame."""
    state: Float32[np.ndarray, "b s"]
    """Imagined proprioception; the given one always where the bundle has no arm model."""


@dataclass(frozen=True, kw_only=True)
class ExportedState:
    """All that the worlds' futures depend on; `step` never changes one in place."""

    codes: Int[np.ndarray, "m b n"]
    given: Arrays
    """Of the decoder and the world model: `given_rgb`, `given_depth_m`, `given_codes`."""
    arm: Arrays
    """What the controls graph reads besides actions."""
    keys: np.ndarray
    values: np.ndarray
    position: int


class ExportedWorlds:
    """Worlds that exported files imagine: `reset`, then `step` after `step`."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the graphs.

        Args:
            folder: As `roboscape export onnx` writes it.
            threads: Of every graph.

        Raises:
            ValueError: no exported files, those of another version, or no `onnxruntime`.
        """
        self.manifest = read_manifest(folder)
        try:
            onnxruntime = import_module("onnxruntime")
        except ImportError as error:
            raise UserError(
                f"expected the package onnxruntime ({error}): pip install 'roboscape[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._sessions: dict[str, Any] = {
            name: onnxruntime.InferenceSession(
                str(folder / graph["file"]), options, providers=["CPUExecutionProvider"]
            )
            for name, graph in self.manifest["graphs"].items()
        }
        self.state: ExportedState | None = None
        """Where the worlds are; assign an earlier one to go back there."""

    def reset(
        self,
        *,
        rgb: UInt8[np.ndarray, "b h w 3"],
        state: Float32[np.ndarray, "b s"],
        depth_m: Float32[np.ndarray, "b h w"] | None = None,
        state_before: Float32[np.ndarray, "b s"] | None = None,
        task: str = "",
    ) -> None:
        """Begin at given frames.

        Args:
            rgb: Of every world.
            state: Proprioception there, stored units.
            depth_m: In metres, where the model has depth.
            state_before: One native row earlier; without it the arms rest.
            task: One of the manifest's `tasks`.

        Raises:
            ValueError: a task that the manifest has not.
        """
        if task not in self.manifest["tasks"]:
            raise UserError(
                f"expected one of the exported tasks {list(self.manifest['tasks'])}, got {task!r}; "
                "export with --tasks"
            )
        images = {"rgb": rgb} if depth_m is None else {"rgb": rgb, "depth_m": depth_m}
        codes = self.call("encode", images)["codes"]
        arm: Arrays = {"state": state}
        if "controls_start" in self._sessions:
            before = state if state_before is None else state_before
            arm |= self.call(
                "controls_start", {"state": state, "state_before": before, "codes": codes}
            )
        else:
            arm["moved"] = np.zeros((len(state), len(self.manifest["action"]["names"])))
        if vector := self.manifest["tasks"][task]:
            arm["task"] = np.tile(np.float32(vector), (len(state), 1))
        self.state = ExportedState(
            codes=codes,
            given={"given_codes": codes} | {f"given_{name}": one for name, one in images.items()},
            arm=arm,
            keys=self._zeros("past_keys"),
            values=self._zeros("past_values"),
            position=0,
        )

    def step(self, actions: Float32[np.ndarray, "b stride a"]) -> ExportedFrame:
        """Imagine the frame that native actions, in stored units, lead to.

        Raises:
            ValueError: before the first `reset`.
        """
        now = self.state
        if now is None:
            raise UserError("worlds that were never reset cannot be stepped; call `reset` first")
        arm = self.call("controls", now.arm | {"actions": np.asarray(actions, np.float32)})
        tokens = self.call(
            "world_model",
            {
                "previous_codes": now.codes,
                "control": arm.pop("control"),
                "position": np.full(len(actions), now.position, np.int32),
                "past_keys": now.keys,
                "past_values": now.values,
                **now.given,
            },
        )
        pixels = self.call("decode", tokens | now.given)
        slot = now.position % self.manifest["memory_slots"]
        self.state = replace(
            now,
            codes=tokens["codes"],
            arm=now.arm | {name.removesuffix("_after"): value for name, value in arm.items()},
            keys=with_slot(now.keys, slot, tokens["new_keys"]),
            values=with_slot(now.values, slot, tokens["new_values"]),
            position=now.position + 1,
        )
        return ExportedFrame(
            rgb=pixels["rgb"],
            depth_m=pixels.get("depth_m"),
            codes=tokens["codes"],
            confidence=tokens["confidence"],
            state=self.state.arm["state"],
        )

    def call(self, graph: str, values: Mapping[str, np.ndarray]) -> Arrays:
        """One graph's outputs by name; of `values` it takes those that are its inputs."""
        description = self.manifest["graphs"][graph]
        names = [one["name"] for one in description["outputs"]]
        inputs = {one["name"]: values[one["name"]] for one in description["inputs"]}
        return dict(zip(names, self._sessions[graph].run(names, inputs), strict=True))

    def _zeros(self, name: str) -> np.ndarray:
        inputs = self.manifest["graphs"]["world_model"]["inputs"]
        (shape,) = [one["shape"] for one in inputs if one["name"] == name]
        return np.zeros(shape, np.float32)


def with_slot(memory: np.ndarray, slot: int, new: np.ndarray) -> np.ndarray:
    """A copy of the memory in which one slot is replaced."""
    changed = memory.copy()
    changed[:, :, :, slot] = new
    return changed


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of exported files.

    Raises:
        ValueError: there is none, or one of another version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"expected exported files in {folder}, found no manifest.json; `roboscape export onnx` "
            "writes them"
        )
    manifest = json.loads(path.read_text())
    if (manifest.get("format"), manifest.get("format_version")) != ("roboscape-onnx", 1):
        raise UserError(
            f"expected roboscape-onnx files of version 1 in {folder}, got "
            f"{manifest.get('format')} {manifest.get('format_version')}; export them again"
        )
    return manifest
