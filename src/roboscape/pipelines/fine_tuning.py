"""The bundle that `learn` starts from: what its trainings take over, and what fits a dataset."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from roboscape.controls.encoder import ControlEncoder
from roboscape.core.errors import UserError
from roboscape.core.pretrained import read_config, resolve
from roboscape.dataset.annotations import NONE
from roboscape.dataset.reader import LeRobotDataset
from roboscape.presets.tokenizer import fine_tuning as tokenizer_fine_tuning
from roboscape.presets.world_model import fine_tuning as world_model_fine_tuning
from roboscape.rollout.bundle import TOKENIZER, WORLD_MODEL
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokenizer.train import TokenizerRun
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.train import WorldModelRun

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StartBundle:
    """A bundle to fine-tune."""

    name: str
    """As it was asked for."""
    folder: Path
    tokenizer: TokenizerConfig
    world_model: WorldModelConfig
    controls: ControlEncoder

    @classmethod
    def load(cls, name: str) -> "StartBundle":
        """Find a bundle by its name, folder or hub name, and read its shapes."""
        folder = resolve(name)
        return cls(
            name=name,
            folder=folder,
            tokenizer=read_config(TokenizerConfig, folder / TOKENIZER),
            world_model=read_config(WorldModelConfig, folder / WORLD_MODEL),
            controls=ControlEncoder.load(folder),
        )

    def check(self, dataset: LeRobotDataset, *, camera: str) -> None:
        """Raise `UserError` for images of another size than the bundle's."""
        (found,) = (one for one in dataset.spec.cameras if one.name == camera)
        size = self.tokenizer.image_size
        if (found.height, found.width) != (size, size):
            raise UserError(
                f"the bundle `{self.name}` is made for images of {size} x {size}, camera "
                f"`{camera}` of {dataset.root} has {found.height} x {found.width}; prepare the "
                f"recordings with --image-size {size}, or learn with --from scratch"
            )

    def depth(self, found: str, *, asked: str | None) -> str:
        """The source of depth to learn from: none where the bundle's model has no depth branch.

        Raises:
            ValueError: depth was asked for.
        """
        if self.world_model.branches == "both" or found == NONE:
            return found
        if asked is not None:
            raise UserError(
                f"the bundle `{self.name}` imagines RGB alone: learn with --depth none, or with "
                f"depth from scratch (--from scratch); got --depth {asked}"
            )
        log.info("the bundle `%s` imagines RGB alone: depth is left out", self.name)
        return NONE

    def same_controls(self, dataset: LeRobotDataset, *, stride: int) -> bool:
        """True if the dataset's actions and states are those of the bundle, at the same rate.

        Its control signals, with the model of its arm, are then taken over.
        """
        mine, arm = self.controls, self.controls.proprioception
        states = dataset.spec.state_names
        same_states = (
            arm.config.state_names == states
            if arm is not None
            else mine.statistics.state_size == len(states)
        )
        found = mine.convention == dataset.spec.action and mine.stride == stride and same_states
        log.info(
            "actions, states and stride are %s of the bundle `%s`: its control signals are %s",
            *(("those", self.name, "kept") if found else ("not those", self.name, "replaced")),
        )
        return found

    def tokenizer_run(self, run: TokenizerRun) -> TokenizerRun:
        """A training of the bundle's tokenizer instead of a new one.

        Its decoder learns to read a given frame where `run` wants it and the bundle's does not.
        """
        return replace(
            tokenizer_fine_tuning(run),
            model=replace(
                self.tokenizer, given_frame=self.tokenizer.given_frame or run.model.given_frame
            ),
            start_from=str(self.folder / TOKENIZER),
            # The world model knows these codes; with codes that moved it was .3 dB worse.
            learns="decoder",
        )

    def world_model_run(self, run: WorldModelRun, *, new_controls: bool) -> WorldModelRun:
        """A training of the bundle's world model instead of a new one.

        Length of clips and branches are those of `run`; persistence is to be fitted anew.
        """
        shape = replace(
            self.world_model,
            max_frames=run.model.max_frames,
            branches=run.model.branches,
            persistence=0.0,
        )
        return replace(
            world_model_fine_tuning(run),
            model=shape,
            start_from=str(self.folder / WORLD_MODEL),
            new_controls=new_controls,
        )
