"""lerobot's configuration of our judge as a reward model: `--reward_model.type=roboscape_judge`.

lerobot finds the class in `modeling_judge.py` and the processors in `processor_judge.py` by their
names.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

# Only lerobot's environment has it.
from lerobot.configs import (  # pyright: ignore[reportMissingImports]
    DEFAULT_DEPTH_UNIT,
    FeatureType,
    PolicyFeature,
)
from lerobot.configs.rewards import RewardModelConfig  # pyright: ignore[reportMissingImports]

from roboscape.core.errors import UserError


@RewardModelConfig.register_subclass("roboscape_judge")
@dataclass
class RoboscapeJudgeConfig(RewardModelConfig):
    """A trained judge, and the dataset that it is shown."""

    judge: str = "lift-judge"
    """A bundled name, or a folder of `roboscape train judge`; empty in a folder that lerobot saved,
    which holds the weights itself."""
    network: dict[str, Any] = field(default_factory=dict)
    """The judge's own configuration; read from `judge` where it is empty."""
    dataset_hz: float = 20.0
    """Rows a second of the dataset; a multiple of the frames a second that the judge reads."""
    depth_unit: str = DEFAULT_DEPTH_UNIT
    """Unit of the batch's depth, `m` or `mm`: `depth_output_unit` of the lerobot dataset."""

    def __post_init__(self) -> None:
        """Read the judge's configuration.

        Raises:
            ValueError: there is no such judge, or the dataset does not fit it.
        """
        super().__post_init__()
        if not self.network:
            self.network = asdict(judge_config(self.judge))
        if self.depth_unit not in ("m", "mm"):
            raise UserError(f"expected depth_unit m or mm, got {self.depth_unit!r}")
        rows = self.dataset_hz / self.network["frame_hz"]
        if rows < 1 or rows != round(rows):
            raise UserError(
                f"this judge reads {self.network['frame_hz']:g} frames a second, and a dataset of "
                f"{self.dataset_hz:g} rows a second does not have them"
            )
        side, key = self.network["image_size"], self.image_key
        for name, channels in ((key, 3), (f"{key}_depth", 1)):
            feature = PolicyFeature(type=FeatureType.VISUAL, shape=(channels, side, side))
            self.input_features.setdefault(name, feature)

    @property
    def image_key(self) -> str:
        """Name of the camera's images in a batch; its depth has `_depth` behind it."""
        return f"observation.images.{self.network['camera']}"

    @property
    def observation_delta_indices(self) -> list[int]:
        """Rows that a dataset gives at once: the frames that the judge reads, the newest last."""
        rows = round(self.dataset_hz / self.network["frame_hz"])
        return [rows * back for back in range(1 - self.network["frames"], 1)]


def judge_config(name: str) -> Any:
    """The configuration of a judge by name.

    Raises:
        ValueError: there is none, or lerobot's environment lacks what reads it.
    """
    try:
        from roboscape.core.pretrained import read_config, resolve
        from roboscape.judge.network import JudgeConfig
    except ModuleNotFoundError as error:
        raise UserError(
            f"the judge needs {error.name} in lerobot's environment; install it there with "
            "`pip install jaxtyping dacite einops opencv-python-headless`"
        ) from error
    return read_config(JudgeConfig, resolve(name))
