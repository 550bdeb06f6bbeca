"""Tiny bundles of every kind, exported once."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, unscaled
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.export.onnx import ExportOnnx, run
from roboscape.export.runtime import ExportedWorlds
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from roboscape.tokens.weights import encoder_sha256
from roboscape.world_model.model import WorldModel

TASK = "lift the red cube"
KINDS = {
    "arm": {"arm": True, "layers": 2, "given_frame": True, "soft_codes": True},
    "objects": {"arm": True, "objects": ("cube_x", "cube_y"), "task_size": 8, "given_frame": True},
    "commands": {"branches": "rgb"},
    "views": {"views": ("front", "wrist"), "task_size": 8, "given_frame": True, "batch": 2},
}
"""What differs between the bundles: an arm model and beliefs; one that is told of objects; colour
alone; two cameras, a task, two worlds at a time."""


def randomise(module, *, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            if "norm" in name and parameter.ndim == 1:
                parameter.add_(1)
    return module.eval().requires_grad_(requires_grad=False)


def make_bundle(tiny_bundle, **kind):
    convention = tiny_bundle.controls.convention
    arm = None
    if kind.get("arm"):
        settings = ProprioceptionConfig(
            convention=convention,
            state_names=("eef_x", "eef_y"),
            object_names=kind.get("objects", ()),
            width=8,
            second_order=bool(kind.get("objects")),
        )
        arm = randomise(Proprioception(settings), seed=1)
    encoder = unscaled(convention, stride=2, state_size=2, proprioception=arm)
    size = len(encoder.statistics.mean)
    statistics = replace(
        encoder.statistics,
        task_size=kind.get("task_size", 0),
        mean=tuple(0.1 * i for i in range(size)),
        std=tuple(1 + 0.2 * i for i in range(size)),
    )
    controls = ControlEncoder(statistics, arm)
    model = replace(
        tiny_bundle.world_model.config,
        control_size=controls.size,
        branches=kind.get("branches", "both"),
        views=kind.get("views", ()),
        patch=2,
        control_field=4,
        num_layers=kind.get("layers", 1),
        copy_previous="task_size" in kind,
    )
    tokenizer = replace(
        tiny_bundle.tokenizer.config,
        given_frame=kind.get("given_frame", False),
        soft_codes=kind.get("soft_codes", False),
    )
    eyes, reader = randomise(Tokenizer(tokenizer), seed=2), None
    if objects := kind.get("objects"):
        with TemporaryDirectory() as folder:
            eyes.save_pretrained(Path(folder))
            encoder = encoder_sha256(Path(folder))
        of = StateReaderConfig(
            state_names=objects,
            grid=model.frame_grid,
            code_bits=model.code_bits,
            encoder_sha256=encoder,
            width=8,
        )
        reader = randomise(StateReader(of), seed=4)
    return Bundle(
        tokenizer=eyes,
        world_model=randomise(WorldModel(model), seed=3),
        controls=controls,
        object_reader=reader,
    )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A bundle, its saved folder, and the folder that it was exported to."""

    bundle: Bundle
    checkpoint: Path
    folder: Path
    batch: int

    def starts(self):
        """Random given frames of all worlds."""
        generator = np.random.default_rng(0)
        side = self.bundle.tokenizer.config.image_size
        cameras = self.bundle.world_model.config.views or ("front",)
        shape = (side, side)
        return [
            FrameStart(
                rgb={
                    name: generator.integers(256, size=(*shape, 3), dtype=np.uint8)
                    for name in cameras
                },
                depth_m={
                    name: generator.uniform(0.2, 5, shape).astype(np.float32) for name in cameras
                },
                state=generator.normal(size=2).astype(np.float32),
                state_before=generator.normal(size=2).astype(np.float32),
                task=TASK,
            )
            for _ in range(self.batch)
        ]

    def both(self):
        """The learned simulator and the exported worlds, at the same starts."""
        cameras = self.bundle.world_model.config.views or ("front",)
        starts = self.starts()
        simulator = LearnedSimulator(self.bundle, batch=self.batch, cameras=cameras)
        simulator.reset(starts)
        worlds = ExportedWorlds(self.folder)
        depth_m = None
        if worlds.manifest["has_depth"]:
            depth_m = np.stack([np.concatenate([s.depth_m[n] for n in cameras]) for s in starts])
        worlds.reset(
            rgb=np.stack([np.concatenate([s.rgb[n] for n in cameras]) for s in starts]),
            depth_m=depth_m,
            state=np.stack([start.state for start in starts]),
            state_before=np.stack([start.state_before for start in starts]),
            task=TASK if worlds.manifest["tasks"].keys() > {""} else "",
        )
        return simulator, worlds


@pytest.fixture(scope="session")
def export(tiny_bundle, tmp_path_factory):
    """A way to export a kind of bundle, at most once."""
    pytest.importorskip("onnxscript", reason="pip install 'roboscape[export]'")
    pytest.importorskip("onnxruntime", reason="pip install 'roboscape[export]'")
    done = {}

    def exported(name):
        if name not in done:
            bundle, batch = make_bundle(tiny_bundle, **KINDS[name]), KINDS[name].get("batch", 1)
            root = tmp_path_factory.mktemp(name)
            bundle.save_pretrained(root / "bundle")
            config = ExportOnnx(
                checkpoint=str(root / "bundle"),
                output=root / "exported",
                batch=batch,
                half=False,
                tasks=(TASK,) if "task_size" in KINDS[name] else (),
            )
            done[name] = Exported(
                bundle=bundle,
                checkpoint=root / "bundle",
                folder=run(config),
                batch=batch,
            )
        return done[name]

    return exported
