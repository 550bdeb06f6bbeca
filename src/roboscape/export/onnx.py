"""`roboscape export onnx`: a bundle as files that ONNX Runtime runs, without torch."""

import logging
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, write_json
from roboscape.core.progress import progress
from roboscape.export.manifest import MANIFEST, manifest_of
from roboscape.export.onnx_file import write_graph
from roboscape.export.parts import graphs_of
from roboscape.rollout.bundle import Bundle

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportOnnx:
    """Write a bundle as ONNX graphs with a manifest: for browsers, robots, other languages."""

    checkpoint: str = "lift"
    """A bundle: the name of a bundled model, a folder, or a hub repository."""
    decoder: str = ""
    """A tokenizer of the same codes, whose decoder takes the place of the checkpoint's:
    `lift-light-decoder` costs half of `lift`'s."""
    output: Path
    """Folder for the graphs and `manifest.json`; one that stands there is replaced."""
    batch: int = 1
    """Worlds that a call computes at a time; fixed in the files."""
    half: bool = True
    """Store large weights as 16-bit floats, half the size; computed is with 32 bits. The encoder's,
    which make the codes, and the arm model's keep 32 bits."""
    tasks: tuple[str, ...] = ()
    """Texts of tasks whose vectors the manifest holds, for a bundle that is given its task."""


def run(config: ExportOnnx) -> Path:
    """Write the folder, whole or not at all, and return it.

    Raises:
        ValueError: a bundle that cannot be exported, texts for a bundle without tasks, a folder of
            something else, or a missing package of the extra `export`.
    """
    bundle = Bundle.from_pretrained(config.checkpoint, decoder=config.decoder)
    if config.tasks and not bundle.controls.statistics.task_size:
        raise UserError(
            f"{config.checkpoint} is a bundle of one task and is given no text; leave --tasks out"
        )
    check_output(config.output)
    graphs = graphs_of(bundle, batch=config.batch)
    with atomic_path(config.output) as folder:
        folder.mkdir(parents=True)
        with progress(len(graphs), f"exporting {config.checkpoint}", unit="graph") as bar:
            for graph in graphs:
                write_graph(graph, folder / f"{graph.name}.onnx", half=config.half)
                bar.update()
        manifest = manifest_of(
            bundle,
            graphs=graphs,
            folder=folder,
            checkpoint=config.checkpoint,
            decoder=config.decoder,
            half=config.half,
            tasks=config.tasks,
        )
        write_json(folder / MANIFEST, manifest)
    size = sum(path.stat().st_size for path in config.output.iterdir())
    log.info("wrote %s: %d graphs, %.1f MB", config.output, len(graphs), size / 1e6)
    return config.output


def check_output(folder: Path) -> None:
    """Refuse to replace a folder that holds something else than exported files.

    Raises:
        ValueError: it does.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UserError(
            f"expected a new folder, or one of an earlier export, got {folder}, which holds "
            "something else; choose another --output"
        )
