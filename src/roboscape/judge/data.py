"""The examples that a judge is trained and measured on: recorded and imagined frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from roboscape.clips.split import episodes_of
from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.judge.examples import (
    JudgeExamples,
    imagined_examples,
    joined,
    recorded_examples,
)
from roboscape.judge.network import JudgeConfig
from roboscape.judge.settings import JudgeRun
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator


@dataclass(frozen=True, kw_only=True)
class JudgeData:
    """The datasets that a judge is trained, calibrated and measured on."""

    training: JudgeExamples
    held_out: dict[str, JudgeExamples]
    """By kind of frames: `recorded`, and `imagined` where a checkpoint is given."""
    calibrating: list[int]
    """Episodes that the temperature is fitted on, numbered through all datasets."""
    measuring: list[int]
    """Episodes that errors are measured on."""


def stride_of_run(config: JudgeRun) -> int:
    """Native rows between two frames: the checkpoint's, where one imagines."""
    if config.checkpoint is None:
        return config.stride
    return Bundle.from_pretrained(config.checkpoint).controls.stride


def check_alike(dataset: LeRobotDataset, shape: JudgeConfig) -> None:
    """Refuse a dataset whose images are not those of the judge.

    Raises:
        ValueError: its camera is missing, has no depth, or is of another size.
    """
    found = {camera.name: camera for camera in dataset.spec.cameras}.get(shape.camera)
    side = shape.image_size
    if found is None or not found.has_depth or (found.height, found.width) != (side, side):
        raise UserError(
            f"the datasets of a judge must all have depth of camera {shape.camera!r} at {side} x "
            f"{side} pixels, as the first one has; {dataset.root} has "
            f"{', '.join(map(str, dataset.spec.cameras))}"
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Some episodes of a dataset."""

    dataset: LeRobotDataset
    episodes: list[int]
    first: int
    """The number of the dataset's first episode, where all datasets are numbered through."""

    @property
    def numbers(self) -> list[int]:
        """The episodes, numbered through all datasets."""
        return [self.first + episode for episode in self.episodes]


def numbers_of(some: Sequence[Source]) -> list[int]:
    """The episodes of all sources, numbered through all datasets."""
    return [number for source in some for number in source.numbers]


Making = Callable[[Source], JudgeExamples]
"""Reads or imagines the examples of a source."""


def sources(datasets: Sequence[LeRobotDataset], split: Split) -> list[Source]:
    """The episodes of a split of all datasets; those without any are left out."""
    found, first = [], 0
    for one in datasets:
        found.append(Source(dataset=one, episodes=episodes_of(one, split), first=first))
        first += one.num_episodes
    return [one for one in found if one.episodes]


def read_data(
    config: JudgeRun,
    datasets: Sequence[LeRobotDataset],
    validation: Sequence[LeRobotDataset],
    *,
    shape: JudgeConfig,
) -> JudgeData:
    """All examples, those of an interrupted run from its folder."""
    training, held_out = sources(datasets, "train"), sources(validation, "validation")
    measured_on = numbers_of(held_out)
    if not training or len(measured_on) < 2:
        raise UserError(
            f"expected training episodes in {named(datasets)} and two or more for validation in "
            f"{named(validation)}, got {sum(len(one.episodes) for one in training)} and "
            f"{len(measured_on)}; collect more, or give --validation"
        )
    learnt = [
        examples_of(config.output, "recorded_training", training, recorded_by(config, shape=shape))
    ]
    if config.checkpoint is not None and config.imagined_episodes:
        first = [
            replace(one, episodes=one.episodes[: config.imagined_episodes]) for one in training
        ]
        imagined = partial(imagine_for, config, shape=shape)
        learnt.append(examples_of(config.output, "imagined_training", first, imagined))
    return JudgeData(
        training=joined(learnt, first_episodes=[0] * len(learnt)),
        held_out=held_out_examples(config, held_out, shape=shape),
        calibrating=measured_on[::2],
        measuring=measured_on[1::2],
    )


def held_out_examples(
    config: JudgeRun, held_out: Sequence[Source], *, shape: JudgeConfig
) -> dict[str, JudgeExamples]:
    """Examples of validation episodes: `recorded`, and `imagined` where a checkpoint is given."""
    makers: dict[str, Making] = {"recorded": recorded_by(config, shape=shape)}
    if config.checkpoint is not None:
        makers["imagined"] = partial(imagine_for, config, shape=shape)
    return {
        kind: examples_of(config.output, f"{kind}_validation", held_out, make)
        for kind, make in makers.items()
    }


def recorded_by(config: JudgeRun, *, shape: JudgeConfig) -> Making:
    """Reads the examples of a source as they were recorded."""
    stride = stride_of_run(config)

    def read(source: Source) -> JudgeExamples:
        return recorded_examples(source.dataset, source.episodes, config=shape, stride=stride)

    return read


def examples_of(output: Path, kind: str, some: Sequence[Source], make: Making) -> JudgeExamples:
    """The examples of all sources, a file a source, numbered through all datasets."""
    return joined(
        [
            kept(output / f"{kind}_{number}.npz", lambda source=source: make(source))
            for number, source in enumerate(some)
        ],
        first_episodes=[source.first for source in some],
    )


def named(datasets: Sequence[LeRobotDataset]) -> str:
    """The folders of datasets, for messages."""
    return ", ".join(str(one.root) for one in datasets)


def imagine_for(config: JudgeRun, source: Source, *, shape: JudgeConfig) -> JudgeExamples:
    """Examples imagined by the run's checkpoint."""
    assert config.checkpoint is not None
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(Compute(device=config.device))
    views = bundle.world_model.config.views
    cameras = views if len(views) > 1 else (shape.camera,)
    simulator = LearnedSimulator(bundle, batch=config.worlds, cameras=cameras)
    try:
        return imagined_examples(
            simulator,
            source.dataset,
            source.episodes,
            config=shape,
            frames=config.imagined_frames,
        )
    finally:
        simulator.close()


def kept(path: Path, make: Callable[[], JudgeExamples]) -> JudgeExamples:
    """Examples from a file, made and written first where it is not there."""
    if not path.is_file():
        make().save(path)
    return JudgeExamples.load(path)
