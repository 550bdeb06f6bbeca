"""`roboscape export page`: a folder of static files in which a bundle is driven in a browser."""

import gzip
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.export.manifest import MANIFEST
from roboscape.export.npm import NpmPackage, archive_of, file_of
from roboscape.export.onnx import ExportOnnx
from roboscape.export.onnx import run as export_onnx
from roboscape.export.page_starts import (
    DEPTH_UNIT_M,
    PageStart,
    backend_check,
    describe_starts,
    driven_axes,
    gripper_of,
    true_starts,
    write_starts,
)
from roboscape.export.parts import CONTROLS, DECODE, WORLD_MODEL
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator

log = logging.getLogger(__name__)

PAGE_FILES = Path(__file__).parent / "page_files"
"""The page's own files: HTML, style, scripts."""
PAGE = "page.json"
RUNTIME = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    integrity="sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1Sig"
    "qR4CXAfKYQ==",
    license="""MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
""",
)
"""What runs the graphs in the browser."""
SCRIPTS = ("ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs")
BINARIES = ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.asyncify.wasm")
"""For the processor, and for WebGPU; a visitor downloads one of the two."""
GRAPHS = (CONTROLS, WORLD_MODEL, DECODE)
"""Graphs of a page: its first frames come with their tokens."""


@dataclass(frozen=True, kw_only=True)
class ExportPage:
    """Write a folder of static files in which anyone drives a bundle, in a browser."""

    checkpoint: str = "lift"
    """A bundle of one camera: the name of a bundled model, a folder, or a hub repository."""
    decoder: str = ""
    """As in `roboscape export onnx`: decoding is most of what a browser computes."""
    output: Path = Path("docs/play")
    """Folder of the page; an earlier page that stands there is replaced."""
    task: str = "Lift"
    """The true simulator's task, which shows the first frames: Lift, or metaworld/door-open, ..."""
    seeds: tuple[int, ...] = (910000, 910001, 910002, 910003, 910004, 910005)
    """Seeds of the first frames; test seeds, of which no model has learnt."""
    runtime_archive: Path | None = None
    """Archive of the pinned onnxruntime-web; where not given, npm fetches it."""


def run(config: ExportPage) -> Path:
    """Write the folder, whole or not at all, and return it.

    Raises:
        ValueError: a bundle of several cameras or another robot than the task's, a folder of
            something else, another archive than the pinned one, or a missing package.
    """
    if config.output.exists() and not (config.output / PAGE).is_file():
        raise UserError(
            f"expected a new folder, or one of an earlier page, got {config.output}, which holds "
            "something else; choose another --output"
        )
    if not config.seeds:
        raise UserError("expected at least one seed of a first frame, got none")
    archive = archive_of(RUNTIME, archive=config.runtime_archive)
    bundle = Bundle.from_pretrained(config.checkpoint, decoder=config.decoder)
    starts = true_starts(bundle, task=config.task, seeds=config.seeds)
    with atomic_path(config.output) as folder:
        folder.mkdir(parents=True)
        for path in sorted(PAGE_FILES.iterdir()):
            shutil.copyfile(path, folder / path.name)
        write_runtime(archive, folder / RUNTIME.name)
        write_model(config, bundle, starts, folder / "model")
        write_starts(starts, folder / "starts")
        write_json(folder / PAGE, describe_page(bundle, starts))
    total, download = page_bytes(config.output)
    log.info(
        "wrote %s: %.1f MB in all, a visitor without WebGPU downloads %.1f MB. See it: "
        "python -m http.server --directory %s",
        config.output,
        total / 1e6,
        download / 1e6,
        config.output,
    )
    return config.output


def write_runtime(archive: bytes, folder: Path) -> None:
    """ONNX Runtime Web's files, and its licence; binaries packed, for not every server packs."""
    folder.mkdir(parents=True)
    for name in SCRIPTS:
        (folder / name).write_bytes(file_of(archive, f"dist/{name}"))
    for name in BINARIES:
        (folder / f"{name}.gz").write_bytes(packed(file_of(archive, f"dist/{name}")))
    (folder / "LICENSE").write_text(RUNTIME.license)


def write_model(config: ExportPage, bundle: Bundle, starts: list[PageStart], folder: Path) -> None:
    """The exported graphs that the page needs, packed, and their manifest."""
    folder.mkdir(parents=True)
    tasks = {start.task for start in starts} if bundle.controls.statistics.task_size else set()
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_onnx(
            ExportOnnx(
                checkpoint=config.checkpoint,
                decoder=config.decoder,
                output=Path(temporary) / "model",
                tasks=tuple(sorted(tasks)),
            )
        )
        manifest = read_json(exported / MANIFEST)
        manifest["graphs"] = {name: manifest["graphs"][name] for name in GRAPHS}
        for graph in manifest["graphs"].values():
            content = packed((exported / graph["file"]).read_bytes())
            (folder / f"{graph['file']}.gz").write_bytes(content)
    write_json(folder / MANIFEST, manifest)


def packed(content: bytes) -> bytes:
    """The content in gzip's form, the same at every build."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def describe_page(bundle: Bundle, starts: list[PageStart]) -> dict[str, Any]:
    """All that the page reads beside the model."""
    simulator = LearnedSimulator(bundle, cameras=bundle.world_model.config.views or ("camera",))
    (camera,) = simulator.cameras
    height, width, _ = starts[0].rgb.shape
    return {
        "height": height,
        "width": width,
        "depth_unit_m": DEPTH_UNIT_M,
        "axes": driven_axes(bundle.controls.convention, camera=camera),
        "gripper": gripper_of(bundle.controls.convention),
        "starts": describe_starts(simulator, starts),
        "check": backend_check(simulator, starts[0]),
        "runtime": {
            "package": RUNTIME.name,
            "version": RUNTIME.version,
            "integrity": RUNTIME.integrity,
        },
    }


def page_bytes(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and of those that a visitor without WebGPU downloads, gzip's where the
    server packs text."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    gpu = ("webgpu", "asyncify")
    needed = [path for path in sizes if not any(word in path.name for word in gpu) and path.suffix]
    return sum(sizes.values()), sum(
        sizes[path] if path.suffix == ".gz" else len(packed(path.read_bytes())) for path in needed
    )
