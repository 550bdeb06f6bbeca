"""What several packages' tests share: a tiny Lift-like dataset, and a tiny untrained bundle."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path

from roboscape.core.threads import wait_without_spinning

# Before torch is imported: a busy machine would make the tests many times slower.
wait_without_spinning()

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, ControlStatistics
from roboscape.controls.signals import control_size
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.rollout.bundle import Bundle
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.model import WorldModel

SIDE, STRIDE, LENGTH = 64, 2, 17
CUBE_RGB = (150, 50, 58)
CONVENTION = ActionConvention(
    mode="delta",
    names=("x", "y", "gripper"),
    units=("m", "m", "1"),
    scale=(0.05, 0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
SPEC = DatasetSpec(
    fps=20.0,
    robot_type="panda",
    cameras=(CameraSpec(name="front", height=SIDE, width=SIDE, has_depth=True),),
    state_names=("eef_x", "eef_y"),
    action=CONVENTION,
    depth_min_m=0.25,
    depth_max_m=4.0,
    source="test scene like robosuite Lift",
)


@dataclass(frozen=True)
class Scene:
    """A white table under a dark wall, and a red cube seen against the table."""

    def table(self) -> np.ndarray:
        """Inverse depth of the table, linear in the pixels as every plane's is."""
        row, column = np.mgrid[:SIDE, :SIDE] / SIDE
        return 0.7 + 0.8 * row + 0.05 * column

    def render(self, *, height: float, top: int) -> tuple[np.ndarray, np.ndarray]:
        """RGB and depth with the cube at a height (fraction of the camera's) and an image row."""
        rgb = np.full((SIDE, SIDE, 3), 235, np.uint8)
        depth_m = 1 / self.table()
        rgb[: SIDE // 5], depth_m[: SIDE // 5] = 60, 3.0
        cube = (slice(top, top + 10), slice(26, 36))
        rgb[cube] = CUBE_RGB
        depth_m[cube] = (1 - height) / self.table()[cube]
        return rgb, depth_m.astype(np.float32)

    def video(self, heights: np.ndarray, *, top: int = 40) -> tuple[np.ndarray, np.ndarray]:
        """A cube that rises and sinks, moving up the picture as it rises."""
        frames = [self.render(height=h, top=round(top - 60 * (h - 0.05))) for h in heights]
        rgb, depth_m = zip(*frames, strict=True)
        return np.stack(rgb), np.stack(depth_m)


def make_episode(seed: int, *, rises: bool) -> Episode:
    random = np.random.default_rng(seed)
    heights = np.full(LENGTH, 0.05)
    if rises:
        heights[6:] = np.linspace(0.05, 0.35, LENGTH - 6)
    rgb, depth_m = Scene().video(heights)
    return Episode(
        frames={"front": rgb},
        depth_m={"front": depth_m},
        actions=random.uniform(-1, 1, (LENGTH, 3)).astype(np.float32),
        state=random.normal(size=(LENGTH, 2)).astype(np.float32),
        reward=(heights > 0.14).astype(np.float32),
        task="lift the red cube",
        success=rises,
        seed=seed,
        behaviour="expert",
        tracks={},
    )


def write_dataset(root: Path, seeds: list[int]) -> LeRobotDataset:
    with DatasetWriter(root, SPEC) as writer:
        for number, seed in enumerate(seeds):
            writer.add(make_episode(seed, rises=number % 2 == 1))
    return LeRobotDataset(root)


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """A shell's background jobs are born deaf to SIGINT, and Python then leaves them so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def randomised():
    """A way to fill a world model's weights so that every one matters: none is left at zero."""

    def fill(model):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 1.0 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(scale * noise + ("norm" in name and parameter.ndim == 1))
        return model.eval().requires_grad_(requires_grad=False)

    return fill


@pytest.fixture
def lift_scene() -> Scene:
    return Scene()


@pytest.fixture(scope="session")
def lift_dataset(tmp_path_factory) -> LeRobotDataset:
    """Three test episodes of 17 rows at 20 Hz; the second one's cube rises."""
    return write_dataset(tmp_path_factory.mktemp("lift"), [900_000, 900_001, 900_002])


@pytest.fixture(scope="session")
def lift_train_dataset(tmp_path_factory) -> LeRobotDataset:
    return write_dataset(tmp_path_factory.mktemp("train"), [5, 6])


@pytest.fixture(scope="session")
def lift_validation_dataset(tmp_path_factory) -> LeRobotDataset:
    return write_dataset(tmp_path_factory.mktemp("validation"), [800_000, 800_001])


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    """Real models, as small as they come, stride 2; random heads, so that actions matter."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(
        TokenizerConfig(
            image_size=SIDE,
            encoder_width=8,
            decoder_width=16,
            decoder_blocks=1,
            decoder_heads=2,
            convolution_width=8,
            convolution_blocks=1,
            depth_min_m=0.25,
            depth_max_m=4.0,
        )
    )
    size = control_size(CONVENTION, stride=STRIDE, state_size=2)
    config = WorldModelConfig(
        control_size=size, num_layers=1, width=16, heads=2, grid=(4, 4), max_frames=6
    )
    world_model = WorldModel(config)
    for branch in world_model.branches:
        torch.nn.init.normal_(branch.head.weight)
    controls = ControlStatistics(
        convention=CONVENTION, stride=STRIDE, state_size=2, mean=(0.0,) * size, std=(1.0,) * size
    )
    return Bundle(
        tokenizer=tokenizer.eval(),
        world_model=world_model.eval(),
        controls=ControlEncoder(controls),
    )


@pytest.fixture
def bundle_of_tasks(tiny_bundle, randomised) -> Bundle:
    """The same, told the task in 8 numbers; every weight of the world model matters."""
    controls = ControlEncoder(replace(tiny_bundle.controls.statistics, task_size=8))
    config = replace(tiny_bundle.world_model.config, control_size=controls.size)
    return replace(tiny_bundle, world_model=randomised(WorldModel(config)), controls=controls)
