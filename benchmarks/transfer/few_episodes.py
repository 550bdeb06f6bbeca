"""A task of Meta-World learnt from few episodes: from a bundle and from nothing, in equal time.

The two large trainings of `roboscape learn`, tokenizer and world model, get the same CPU minutes,
whatever they start from: seconds a step are measured first, and the steps follow. What else `learn`
does is the same for both, but for the arm's model, which only the start from nothing has to learn.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.clips.split import episodes_of
from roboscape.collect.metaworld import CollectMetaworld
from roboscape.collect.metaworld import run as collect_metaworld
from roboscape.core.config import load_config, save_config
from roboscape.core.files import remove
from roboscape.dataset.reader import LeRobotDataset
from roboscape.pipelines.learn import SCRATCH, Learn, Plan
from roboscape.pipelines.learn import run as learn
from roboscape.rollout.bundle import Bundle
from roboscape.sources.metaworld import METAWORLD
from roboscape.sources.saving import check_same_settings
from roboscape.tokenizer.train import TokenizerRun
from roboscape.tokenizer.train import run as train_tokenizer
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.training.learner import StopConfig
from roboscape.world_model.train import WorldModelRun
from roboscape.world_model.train import train as train_world_model

LEARNT = "learnt.json"
TRAINING_SEED, VALIDATION_SEED = 0, 800_000
TOKENIZER_SHARE = 0.35
"""Of the minutes; the rest is the world model's."""

Run = TypeVar("Run", TokenizerRun, WorldModelRun)


@dataclass(frozen=True, kw_only=True)
class FewEpisodes:
    """How a new task is learnt, and from what."""

    episodes: tuple[int, ...] = (5, 20, 50)
    """Numbers of training episodes; the smaller sets are part of the larger ones."""
    minutes: float = 30.0
    """CPU minutes of the tokenizer's and the world model's training together."""
    validation_episodes: int = 8
    """That end a fine-tuning, beside those that are trained on."""
    held_out_episodes: int = 20
    """To measure on."""
    held_out_seed: int = 810_000
    """Of the first of these: 980000 for figures that are reported."""
    rows: int = 160
    """Control steps of an episode."""
    preset: Literal["debug", "lift"] = "lift"
    """Of all trainings; the shapes are the bundle's where the start is the bundle."""
    proprioception_steps: int = 1000
    """Of the start from nothing; the bundle brings its own. 0: no arm model."""
    decoder_steps: int = 100
    """Of the decoder on what the world model imagines, for both."""
    augmented_copies: int | None = None
    """Of every training episode; where not given, what `learn` does."""
    timed_steps: int = 20
    """Steps by which seconds a step are measured."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A model of the task."""

    start: str
    """`bundle` or `scratch`."""
    episodes: int
    checkpoint: Path
    tokenizer_steps: int
    world_model_steps: int
    """At most: validation may have ended the training of a bundle before."""
    cpu_minutes: float
    """Of all that `learn` did, its measuring included."""

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.episodes} episodes, from {self.start}"


@dataclass(frozen=True, kw_only=True)
class LearntTask:
    """All models of a task, and episodes that none has seen."""

    held_out: Path
    models: tuple[Learnt, ...]


def learn_all(config: FewEpisodes, *, task: str, checkpoint: str, output: Path) -> LearntTask:
    """Collect, and learn from every number of episodes twice; goes on where it stopped.

    Raises:
        UserError: the output folder holds models that learnt otherwise.
    """
    settings = {"task": task, "checkpoint": checkpoint, **asdict(config)}
    # What is learnt from one number of episodes does not depend on the others; datasets check
    # their own settings.
    del settings["episodes"], settings["held_out_episodes"], settings["held_out_seed"]
    check_same_settings(output / "settings.json", settings, verb="begun")
    like = Bundle.from_pretrained(checkpoint)
    seeds = {config.held_out_seed: config.held_out_episodes}
    held_out = collect(output / "held_out", task, seeds=seeds, like=like, rows=config.rows)
    models = []
    for count in config.episodes:
        seeds = {TRAINING_SEED: count, VALIDATION_SEED: config.validation_episodes}
        root = collect(output / f"episodes_{count}", task, seeds=seeds, like=like, rows=config.rows)
        length, stride = like.world_model.config.max_frames, like.controls.stride
        index_clips(IndexClips(dataset=root, length=length, stride=stride))
        for start, name in (("bundle", checkpoint), ("scratch", SCRATCH)):
            folder = output / f"{start}_{count}"
            if not (folder / LEARNT).is_file():
                cameras = tuple(camera.name for camera in LeRobotDataset(root).spec.cameras)
                one = learn_one(
                    config, root, start=start, name=name, folder=folder, cameras=cameras
                )
                save_config(one, folder / LEARNT)
            models.append(load_config(Learnt, folder / LEARNT))
    return LearntTask(held_out=held_out, models=tuple(models))


def collect(root: Path, task: str, *, seeds: dict[int, int], like: Bundle, rows: int) -> Path:
    """A dataset of a task in images of the bundle's size: so many episodes from each seed on."""
    for seed, episodes in seeds.items():
        collect_metaworld(
            CollectMetaworld(
                output=root,
                episodes=episodes,
                tasks=(task,),
                seed=seed,
                horizon=rows,
                cameras=like.world_model.config.views or (METAWORLD.camera,),
                image_size=like.tokenizer.config.image_size,
            )
        )
    return root


def learn_one(
    config: FewEpisodes,
    root: Path,
    *,
    start: str,
    name: str,
    folder: Path,
    cameras: tuple[str, ...] = (),
) -> Learnt:
    """Learn from one dataset; what an interruption left begins anew, for its time is not known.

    Args:
        config: How it is learnt.
        root: The dataset.
        start: `bundle` or `scratch`.
        name: The bundle, or `scratch`.
        folder: Where all of it is kept.
        cameras: The views of a frame; that of the clip index where none is named.
    """
    remove(folder)
    asked = Learn(
        dataset=root,
        output=folder,
        start_from=name,
        cameras=cameras,
        tokenizer=config.preset,
        proprioception=config.preset if config.proprioception_steps else "none",
        world_model=config.preset,
        proprioception_steps=config.proprioception_steps or None,
        decoder_steps=config.decoder_steps,
        augmented_copies=config.augmented_copies,
    )
    tokenizer_s, world_model_s = step_seconds(asked, steps=config.timed_steps)
    seconds = 60 * config.minutes
    tokenizer_steps = max(1, round(TOKENIZER_SHARE * seconds / tokenizer_s))
    world_model_steps = max(1, round((1 - TOKENIZER_SHARE) * seconds / world_model_s))
    begun = time.process_time()
    checkpoint = learn(
        replace(asked, tokenizer_steps=tokenizer_steps, world_model_steps=world_model_steps)
    )
    return Learnt(
        start=start,
        episodes=len(episodes_of(LeRobotDataset(root), "train")),
        checkpoint=checkpoint,
        tokenizer_steps=tokenizer_steps,
        world_model_steps=world_model_steps,
        cpu_minutes=(time.process_time() - begun) / 60,
    )


def step_seconds(asked: Learn, *, steps: int) -> tuple[float, float]:
    """CPU seconds of a step of the tokenizer's training and of the world model's."""
    with TemporaryDirectory(prefix="roboscape_few_episodes_") as name:
        folder = Path(name)
        plan = Plan.of(replace(asked, output=folder))
        tokenizer_s = seconds_a_step(
            train_tokenizer, plan.tokenizer_run(), folder=folder / "tokenizer", steps=steps
        )
        controls = plan.kept_controls()
        tokenize(
            Tokenize(
                datasets=(asked.dataset,),
                tokenizer=str(folder / "tokenizer/2/tokenizer"),
                output=folder / "tokens",
                cameras=plan.cameras,
                depth=plan.depth,
                stride=plan.clip.stride,
                length=plan.clip.length,
                controls=controls,
            )
        )
        run = plan.world_model_run(new_controls=controls is None)
        world_model_s = seconds_a_step(
            train_world_model, run, folder=folder / "world_model", steps=steps
        )
    return tokenizer_s, world_model_s


def seconds_a_step(train: Callable[[Run], object], run: Run, *, folder: Path, steps: int) -> float:
    """CPU seconds by which a training of so many more steps is longer; the first one warms up.

    Two pairs of trainings are timed and the shorter difference counts: other programs lengthen CPU
    seconds as well.
    """
    spent = []
    for number, last in enumerate((1, 2, 2 + steps, 2, 2 + steps)):
        fit = replace(run.fit, steps=last, stop=StopConfig())
        begun = time.process_time()
        train(replace(run, output=folder / f"{number}", fit=fit))
        spent.append(time.process_time() - begun)
    return max(min(spent[2] - spent[1], spent[4] - spent[3]) / steps, 1e-3)
