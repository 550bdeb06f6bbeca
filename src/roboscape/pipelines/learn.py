"""`roboscape learn`: from a prepared dataset to a simulator of its robot."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from roboscape.clips.filters import ClipRow
from roboscape.clips.index import FILE, read_index
from roboscape.clips.split import episodes_of
from roboscape.controls.train import run as train_proprioception
from roboscape.dataset.annotations import NONE, annotations_folder
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.rollout import Rollout, Start
from roboscape.evaluate.rollout import run as roll_out
from roboscape.pipelines.pipeline import Stages
from roboscape.presets import proprioception as proprioception_presets
from roboscape.presets import tokenizer as tokenizer_presets
from roboscape.presets import world_model as world_model_presets
from roboscape.rollout.bundle import Bundle
from roboscape.tokenizer.train import TokenizerRun
from roboscape.tokenizer.train import run as train_tokenizer
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.world_model.train import WorldModelRun
from roboscape.world_model.train import train as train_world_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Train all models of a simulator on a prepared dataset, and imagine an episode.

    Every stage resumes where it stopped. Its pieces, each with all settings, are `train tokenizer`,
    `train proprioception`, `tokenize`, `train world-model`, `bundle` and `rollout`.
    """

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset with a clip index (`roboscape prepare`), whose camera, stride and length of
    clips the models take over; episodes that its splits hold out are not trained on."""
    output: Path
    """Folder for the runs, the checkpoint and a video."""
    depth: str | None = None
    """`recorded`, `none` for RGB alone, or its annotator; where not given: recorded depth, else the
    only annotator's, if there is any."""
    tracks: str | None = None
    """The annotator of the tracks that the keypoint losses use; where not given: the simulator,
    else the only one; `none`."""
    tokenizer: Literal["debug", "lift"] = "lift"
    """Preset of the tokenizer; its image size and depth range are the dataset's."""
    proprioception: Literal["debug", "lift", "none"] = "lift"
    """Preset of the model that predicts the robot's states from commands; `none`: control signals
    hold the sum of the commands instead, as they do where the dataset has no states."""
    world_model: Literal["debug", "lift", "genie", "small", "medium", "large"] = "lift"
    """Preset of the world model."""
    tokenizer_steps: int | None = None
    """Training steps; the preset's where not given."""
    proprioception_steps: int | None = None
    """Training steps; the preset's where not given."""
    world_model_steps: int | None = None
    """Training steps; the preset's where not given."""


def run(config: Learn) -> Path:
    """Run every stage; returns the checkpoint."""
    stages = Stages(total=5)
    dataset = LeRobotDataset(config.dataset)
    clip = next(read_index(annotations_folder(config.dataset) / FILE))
    depth = config.depth or depth_source(dataset, clip.camera)
    stages.begin("Train a tokenizer")
    tokenizer = train_tokenizer(tokenizer_run(config, dataset=dataset, clip=clip, depth=depth))
    stages.begin("Learn where commands bring the arm")
    proprioception = learn_proprioception(config, dataset=dataset)
    stages.begin("Tokenize")
    store = tokenize(
        Tokenize(
            datasets=(config.dataset,),
            tokenizer=str(config.output / "tokenizer/tokenizer"),
            output=config.output / "tokens",
            camera=clip.camera,
            depth=depth,
            tracks=config.tracks,
            stride=clip.stride,
            length=clip.length,
            proprioception=proprioception,
        )
    )
    stages.begin("Train a world model")
    world_model = train_world_model(world_model_run(config, length=clip.length, depth=depth))
    checkpoint = config.output / "checkpoint"
    bundle = Bundle(tokenizer=tokenizer, world_model=world_model, controls=store.controls)
    bundle.save_pretrained(checkpoint)
    stages.begin("Imagine an episode that was held out")
    video = config.output / "imagined.mp4"
    episode = held_out_episode(dataset)
    roll_out(
        Rollout(
            checkpoint=str(checkpoint),
            dataset=config.dataset,
            output=video,
            start=Start(episode=episode, camera=clip.camera),
        )
    )
    log.info("\nCheckpoint: %s\nEpisode %d, imagined: %s", checkpoint, episode, video)
    return checkpoint


def tokenizer_run(
    config: Learn, *, dataset: LeRobotDataset, clip: ClipRow, depth: str
) -> TokenizerRun:
    """The preset, for this dataset."""
    preset = tokenizer_presets.PRESETS[config.tokenizer]()
    spec = dataset.spec
    return replace(
        preset,
        dataset=(config.dataset,),
        validation=None,
        output=config.output / "tokenizer",
        camera=clip.camera,
        depth=depth,
        stride=clip.stride,
        model=replace(
            preset.model,
            image_size=next(one.height for one in spec.cameras if one.name == clip.camera),
            depth_min_m=spec.depth_min_m,
            depth_max_m=spec.depth_max_m,
        ),
        fit=replace(preset.fit, steps=config.tokenizer_steps or preset.fit.steps),
    )


def learn_proprioception(config: Learn, *, dataset: LeRobotDataset) -> str | None:
    """Train it; returns its folder, None where there is to be none."""
    if config.proprioception == "none" or not dataset.spec.state_names:
        why = "not wanted" if dataset.spec.state_names else "the dataset records no states"
        log.info("%s: control signals hold the commands' sum", why)
        return None
    preset = proprioception_presets.PRESETS[config.proprioception]()
    run = replace(
        preset,
        dataset=config.dataset,
        validation=None,
        output=config.output / "proprioception",
        fit=replace(preset.fit, steps=config.proprioception_steps or preset.fit.steps),
    )
    train_proprioception(run)
    return str(run.output / "proprioception")


def world_model_run(config: Learn, *, length: int, depth: str) -> WorldModelRun:
    """The preset, for these tokens."""
    preset = world_model_presets.PRESETS[config.world_model]()
    return replace(
        preset,
        tokens=config.output / "tokens",
        output=config.output / "world_model",
        model=replace(
            preset.model,
            max_frames=length,
            branches="rgb" if depth == NONE else preset.model.branches,
        ),
        fit=replace(preset.fit, steps=config.world_model_steps or preset.fit.steps),
    )


def held_out_episode(dataset: LeRobotDataset) -> int:
    """The first episode that was not trained on."""
    training = set(episodes_of(dataset, "train"))
    return next(episode for episode in range(dataset.num_episodes) if episode not in training)
