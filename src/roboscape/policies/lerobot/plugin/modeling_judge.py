"""Our judge as a reward model of lerobot: the probability that a frame shows the task solved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lerobot.rewards.pretrained import (  # pyright: ignore[reportMissingImports]
    PreTrainedRewardModel,
)
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.policies.lerobot.plugin.configuration_judge import RoboscapeJudgeConfig

MM_A_METRE = 1000


class RoboscapeJudgeRewardModel(PreTrainedRewardModel):
    """Rewards of 0 to 1 from RGB and depth; it is used as it is, `roboscape train judge` trains."""

    config_class = RoboscapeJudgeConfig
    name = "roboscape_judge"

    def __init__(self, config: RoboscapeJudgeConfig, **_: object) -> None:
        """Open the judge that the configuration names.

        Raises:
            ValueError: there is no such judge.
        """
        super().__init__(config)
        from roboscape.judge.network import JudgeConfig, SuccessNetwork

        if config.judge:
            self.network = SuccessNetwork.from_pretrained(config.judge)
        else:
            self.network = SuccessNetwork(JudgeConfig(**config.network))
            for parameter in self.network.parameters():
                # Until lerobot has loaded the weights, nothing must look like a reward.
                torch.nn.init.constant_(parameter, torch.nan)
        self.network.eval().requires_grad_(requires_grad=False)

    def compute_reward(self, batch: dict[str, Tensor]) -> Tensor:
        """The probability of success in the newest frame of every world, (b,).

        It is 0 where the object that decides is not to be seen, so that nothing is known: a reward
        that is not a number would spoil a training, and a success must not be made up.

        Args:
            batch: `observation.images.<camera>`, (b, 3, h, w) or (b, t, 3, h, w) in 0 to 1, and
                `observation.images.<camera>_depth`, (b, 1, h, w) or (b, t, 1, h, w). The newest
                frame is the last; the oldest is repeated where there are fewer than are read, and
                stands for the episode's first one where the judge reads that.

        Raises:
            ValueError: a key is missing, images of another size, type or range, no weights.
        """
        from roboscape.judge.network import SEEN_FROM, frames_read, shrunk

        key, judge = self.config.image_key, self.network.config
        rgb, depth = (self._frames(batch, name) for name in (key, f"{key}_depth"))
        if depth.shape[:2] != rgb.shape[:2] or rgb.shape[-1] != 3 or depth.shape[-1] != 1:
            raise UserError(
                f"expected as many images of 3 channels at {key} as of 1 at {key}_depth, got "
                f"{rgb.shape} and {depth.shape} (worlds, frames, height, width, channels)"
            )
        if not (np.isfinite(rgb).all() and rgb.min() >= 0 and rgb.max() <= 1):
            raise UserError(f"expected {key} in 0 to 1 (not normalised by statistics)")
        if not np.isfinite(depth).all():
            raise UserError(f"expected {key}_depth that is finite")
        metres = depth[..., 0] / (MM_A_METRE if self.config.depth_unit == "mm" else 1)
        pixels = np.rint(rgb * 255).astype(np.uint8)
        newest = frames_read(pixels.shape[1], config=judge)[-1]
        windows = [
            shrunk(one, depth_m, config=judge)[newest]
            for one, depth_m in zip(pixels, metres, strict=True)
        ]
        success, seen = self.network.probabilities(np.stack(windows))
        if not np.isfinite(success).all():
            raise UserError("this judge has no weights yet; open it by `from_pretrained(FOLDER)`")
        found = np.where(seen < SEEN_FROM, 0.0, success).astype(np.float32)
        return torch.from_numpy(found).to(batch[key].device)

    def _frames(self, batch: dict[str, Tensor], key: str) -> np.ndarray:
        """Images as (b, t, h, w, c) numbers."""
        found = batch.get(key)
        if not isinstance(found, Tensor) or found.ndim not in (4, 5) or not len(found):
            shape = "nothing" if found is None else getattr(found, "shape", type(found).__name__)
            raise UserError(f"expected (b, c, h, w) or (b, t, c, h, w) at {key}, got {shape}")
        video = found if found.ndim == 5 else found.unsqueeze(1)
        return np.moveaxis(video.float().cpu().numpy(), 2, -1)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and a configuration that needs no other folder."""
        config, self.config = self.config, replace(self.config, judge="")
        try:
            super()._save_pretrained(save_directory)
        finally:
            self.config = config
