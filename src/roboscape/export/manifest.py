"""The manifest of exported files: all that a client needs to know beside the graphs."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from roboscape.controls.task_text import task_vectors
from roboscape.core.files import sha256_of
from roboscape.core.pretrained import WEIGHTS, resolve
from roboscape.export.parts import MEANINGS, Graph
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.identity import deciding_files

FORMAT, FORMAT_VERSION = "roboscape-onnx", 1
MANIFEST = "manifest.json"


def manifest_of(
    bundle: Bundle,
    *,
    graphs: Sequence[Graph],
    folder: Path,
    checkpoint: str,
    decoder: str = "",
    half: bool,
    tasks: Sequence[str],
) -> dict[str, Any]:
    """The manifest's content.

    Args:
        bundle: What is exported.
        graphs: Its graphs.
        folder: Where their files lie.
        checkpoint: The name under which the bundle was found.
        decoder: The name of the tokenizer that shows its frames; its own where not given.
        half: Whether large weights are stored with 16 bits.
        tasks: Texts whose vectors the model may be given.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "bundle": Path(checkpoint).name,
        **describe_model(bundle, batch=len(graphs[0].inputs["rgb"])),
        "tasks": {text: vector_of(text, bundle) for text in ("", *tasks)},
        "graphs": {graph.name: describe_graph(graph, folder) for graph in graphs},
        "provenance": {
            "synthetic": True,
            "roboscape": version("roboscape"),
            "torch": torch.__version__,
            "onnx": version("onnx"),
            "onnxscript": version("onnxscript"),
            "stored_weights": "float16" if half else "float32",
            "weights_sha256": weights_of(checkpoint, decoder=decoder),
        },
    }


def describe_model(bundle: Bundle, *, batch: int) -> dict[str, Any]:
    """Sizes, rates, the action convention."""
    tokenizer, model, controls = bundle.tokenizer.config, bundle.world_model.config, bundle.controls
    arm = controls.proprioception
    return {
        "batch": batch,
        "frame_hz": controls.convention.action_hz / controls.stride,
        "stride": controls.stride,
        "action": asdict(controls.convention),
        "state_names": [] if arm is None else list(arm.config.state_names),
        "state_size": controls.statistics.state_size,
        "imagines_state": arm is not None,
        "cameras": list(model.views) or ["camera"],
        "image_size": tokenizer.image_size,
        "has_depth": model.modalities > 1,
        "depth_min_m": tokenizer.depth_min_m,
        "depth_max_m": tokenizer.depth_max_m,
        "code_bits": model.code_bits,
        "factors": model.factors,
        "token_grid": list(model.frame_grid),
        "given_frame": tokenizer.given_frame,
        "soft_codes": tokenizer.soft_codes,
        "memory_slots": model.window - 1,
        "longest_rollout_frames": model.window if model.time_position == "learned" else None,
        "control_mean": list(controls.statistics.mean),
        "control_std": list(controls.statistics.std),
    }


def describe_graph(graph: Graph, folder: Path) -> dict[str, Any]:
    """A graph's file, its hash, and both its ends."""
    path = folder / f"{graph.name}.onnx"
    with torch.no_grad():
        found = graph.module(*graph.inputs.values())
    outputs = found if isinstance(found, tuple) else (found,)
    named = zip(graph.outputs, outputs, strict=True)
    return {
        "file": path.name,
        "purpose": graph.purpose,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "inputs": [describe_tensor(name, tensor) for name, tensor in graph.inputs.items()],
        "outputs": [describe_tensor(name, tensor) for name, tensor in named],
    }


def describe_tensor(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    """Name, number format, shape and meaning."""
    return {
        "name": name,
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "meaning": MEANINGS[name],
    }


def vector_of(text: str, bundle: Bundle) -> list[float]:
    """A task's vector; empty where the bundle has no tasks."""
    return task_vectors([text], size=bundle.controls.statistics.task_size)[0].tolist()


def weights_of(checkpoint: str, *, decoder: str = "") -> dict[str, str]:
    """Hashes of the bundle's weight files by their place in it; of `decoder` where it is named."""
    folder = resolve(checkpoint)
    files = [path for path in deciding_files(folder) if path.name == WEIGHTS]
    found = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    if decoder:
        found[f"tokenizer/{WEIGHTS}"] = sha256_of(resolve(decoder) / WEIGHTS)
    return found
