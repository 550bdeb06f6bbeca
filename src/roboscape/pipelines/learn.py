"""`roboscape learn`: from a prepared dataset to a simulator of its robot."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from roboscape.clips.filters import ClipRow
from roboscape.clips.index import FILE, read_index
from roboscape.clips.split import episodes_of
from roboscape.controls.train import run as train_proprioception
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import NONE, annotations_folder
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.report import write_report
from roboscape.evaluate.rollout import Rollout, Start
from roboscape.evaluate.rollout import run as roll_out
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.evaluate.verdict import Verdict, judge
from roboscape.pipelines.fine_tuning import StartBundle
from roboscape.pipelines.pipeline import Stages
from roboscape.presets import proprioception as proprioception_presets
from roboscape.presets import tokenizer as tokenizer_presets
from roboscape.presets import world_model as world_model_presets
from roboscape.rollout.bundle import PROBED, Bundle
from roboscape.rollout.imaginings import Imaginings, Shape
from roboscape.rollout.persistence import fit_persistence, reads_persistence, with_persistence
from roboscape.rollout.train_decoder import DecoderRun
from roboscape.rollout.train_decoder import run as train_decoder
from roboscape.tokenizer.train import TokenizerRun
from roboscape.tokenizer.train import run as train_tokenizer
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.training.learner import FitConfig, StopConfig
from roboscape.world_model.train import WorldModelRun
from roboscape.world_model.train import train as train_world_model

log = logging.getLogger(__name__)

SCRATCH = "scratch"
DEFAULT_START = SCRATCH
"""Value of `--from` where it is not given."""
ENOUGH_ROWS, MOST_COPIES = 5000, 15
"""Rows of training episodes, copies included, that need no more copies; and the most of these."""
VERDICT_CLIPS, VERDICT_EPISODES = 16, 16
"""Clips that the verdict is measured on, about, and held-out episodes at most."""


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Train all models of a simulator on a prepared dataset, imagine an episode, give a verdict.

    Every stage resumes where it stopped. Its pieces, each with all settings, are `train tokenizer`,
    `train proprioception`, `tokenize`, `train world-model`, `bundle`, `rollout` and `evaluate`.
    """

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset with a clip index (`roboscape prepare`), whose camera, stride and length of
    clips the models take over; episodes that its splits hold out are not trained on."""
    output: Path
    """Folder for the runs, the checkpoint, a video, the verdict and a report."""
    start_from: Annotated[str, tyro.conf.arg(name="from")] = DEFAULT_START
    """Bundle to fine-tune: a name (`general` and `lift` come with the package), folder or hub name;
    `scratch`. The models' shapes are then the bundle's, and so is the images' size; presets say the
    rest."""
    depth: str | None = None
    """`recorded`, `none` for RGB alone, or its annotator; where not given: recorded depth, else the
    only annotator's, if there is any."""
    tracks: str | None = None
    """The annotator of the tracks that the keypoint losses use; where not given: the simulator,
    else the only one; `none`."""
    tokenizer: Literal["debug", "lift"] = "lift"
    """Preset of the tokenizer; from scratch its image size and depth range are the dataset's."""
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
    cameras: tuple[str, ...] = ()
    """Cameras of the dataset that the model sees together, as views of one frame; that of the clip
    index where none is named."""
    augmented_copies: int | None = None
    """Copies of every training episode in other crops and colours, for the world model, and for
    the decoder as large a share of its clips. Where not given, of a robot that the bundle does not
    know: as many as bring the rows to 5000, at most 15; else none."""
    decoder_steps: int = 500
    """Training steps of the decoder on what the world model imagines; 0: none, it stays as it is.
    Only for tokenizers that take a given frame."""


def run(config: Learn) -> Path:
    """Run every stage; returns the checkpoint."""
    stages = Stages(total=8)
    plan = Plan.of(config)
    stages.begin("Train a tokenizer")
    tokenizer = train_tokenizer(plan.tokenizer_run())
    stages.begin("Learn where commands bring the arm")
    controls = plan.kept_controls()
    proprioception = None if controls else learn_proprioception(config, dataset=plan.dataset)
    stages.begin("Tokenize")
    store = tokenize(plan.token_run(proprioception=proprioception, controls=controls))
    stages.begin("Train a world model")
    world_model = train_world_model(plan.world_model_run(new_controls=controls is None))
    checkpoint = config.output / "checkpoint"
    bundle = Bundle(
        tokenizer=tokenizer,
        world_model=world_model,
        controls=store.controls,
        object_reader=store.object_reader,
    )
    stages.begin("Teach the decoder what the world model believes")
    bundle = teach_decoder(bundle, plan=plan, copies=store.config.augmented_copies)
    stages.begin("Fit how much of the given frame stays")
    bundle = settle_persistence(bundle, plan=plan)
    bundle.save_pretrained(checkpoint)
    stages.begin("Imagine an episode that was held out")
    video = config.output / "imagined.mp4"
    episode = held_out_episode(plan.dataset)
    start = Start(episode=episode, cameras=plan.cameras)
    roll_out(Rollout(checkpoint=str(checkpoint), dataset=config.dataset, output=video, start=start))
    stages.begin("Measure the held-out episodes")
    verdict, report = measure(bundle, plan=plan)
    log.info(
        "\n%s\n\nCheckpoint: %s\nEpisode %d, imagined: %s\nReport: %s",
        verdict.text(),
        *(checkpoint, episode, video, report),
    )
    return checkpoint


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that the stages have in common."""

    config: Learn
    dataset: LeRobotDataset
    clip: ClipRow
    """One of the clip index, whose shape all have."""
    cameras: tuple[str, ...]
    """The views of a frame."""
    depth: str
    """Its source."""
    start: StartBundle | None
    """The bundle to fine-tune."""

    @classmethod
    def of(cls, config: Learn) -> "Plan":
        """Open the dataset and the bundle.

        Raises:
            ValueError: no clip index, a camera that the dataset has not, or a bundle that does not
                fit the recordings.
        """
        dataset = LeRobotDataset(config.dataset)
        clip = next(read_index(annotations_folder(config.dataset) / FILE))
        cameras = config.cameras or (clip.camera,)
        known = [camera.name for camera in dataset.spec.cameras]
        if unknown := [name for name in cameras if name not in known]:
            raise UserError(
                f"{config.dataset} has no camera {', '.join(unknown)}; --cameras takes some of "
                f"{', '.join(known)}"
            )
        depth = config.depth or depth_source(dataset, *cameras)
        start = None if config.start_from == SCRATCH else StartBundle.load(config.start_from)
        if start is not None:
            for camera in cameras:
                start.check(dataset, camera=camera)
            depth = start.depth(depth, asked=config.depth)
        return cls(
            config=config, dataset=dataset, clip=clip, cameras=cameras, depth=depth, start=start
        )

    def tokenizer_run(self) -> TokenizerRun:
        """The preset, for this dataset and this start."""
        config, spec = self.config, self.dataset.spec
        run = tokenizer_presets.PRESETS[config.tokenizer]()
        camera = next(one for one in spec.cameras if one.name == self.cameras[0])
        run = replace(
            run,
            dataset=(config.dataset,),
            validation=None,
            output=config.output / "tokenizer",
            cameras=self.cameras,
            depth=self.depth,
            stride=self.clip.stride,
            model=replace(
                run.model,
                image_size=camera.height,
                depth_min_m=spec.depth_min_m,
                depth_max_m=spec.depth_max_m,
            ),
        )
        run = run if self.start is None else self.start.tokenizer_run(run)
        return replace(run, fit=replace(run.fit, steps=config.tokenizer_steps or run.fit.steps))

    def kept_controls(self) -> str | None:
        """Folder of the bundle whose control signals fit the dataset too; None for new ones."""
        start = self.start
        if start is None or not start.same_controls(self.dataset, stride=self.clip.stride):
            return None
        return str(start.folder)

    def token_run(self, *, proprioception: str | None, controls: str | None) -> Tokenize:
        """The settings of the token store, with a new arm model or a start's control signals."""
        return Tokenize(
            datasets=(self.config.dataset,),
            tokenizer=str(self.config.output / "tokenizer/tokenizer"),
            output=self.config.output / "tokens",
            cameras=self.cameras,
            depth=self.depth,
            tracks=self.config.tracks,
            stride=self.clip.stride,
            length=self.clip.length,
            proprioception=proprioception,
            controls=controls,
            augmented_copies=(
                copies_for(self.dataset, new_robot=self.start is not None and controls is None)
                if self.config.augmented_copies is None
                else self.config.augmented_copies
            ),
        )

    def world_model_run(self, *, new_controls: bool) -> WorldModelRun:
        """The preset, for these tokens and this start."""
        config = self.config
        run = world_model_presets.PRESETS[config.world_model]()
        run = replace(
            run,
            tokens=config.output / "tokens",
            output=config.output / "world_model",
            model=replace(
                run.model,
                max_frames=self.clip.length,
                branches="rgb" if self.depth == NONE else run.model.branches,
            ),
        )
        if self.start is not None:
            run = self.start.world_model_run(run, new_controls=new_controls)
        return replace(run, fit=replace(run.fit, steps=config.world_model_steps or run.fit.steps))


def copies_for(dataset: LeRobotDataset, *, new_robot: bool) -> int:
    """Augmented copies that few recordings need, of a robot that is new to the bundle or not.

    A bundle that knows the robot knows its camera, and crops are not what that camera sees: with
    five episodes of a Meta-World task they cost .8 dB (docs/decisions.md). From scratch they were
    not measured.
    """
    if not new_robot:
        return 0
    learnt = episodes_of(dataset, "train")
    rows = sum(dataset.episode_info(episode).length for episode in learnt)
    copies = min(math.ceil(ENOUGH_ROWS / max(rows, 1)) - 1, MOST_COPIES)
    if copies:
        log.info("%d rows to learn from are few: %d augmented copies of each", rows, copies)
    return copies


def teach_decoder(bundle: Bundle, *, plan: Plan, copies: int) -> Bundle:
    """The bundle with a decoder that shows what the world model believes, where one can be.

    It sees as many clips in other crops and colours as the world model did.
    """
    config = plan.config
    if not config.decoder_steps or not bundle.tokenizer.config.given_frame:
        why = "not wanted" if not config.decoder_steps else "the decoder takes no given frame"
        log.info("%s: the decoder stays as it is", why)
        return bundle
    before = config.output / "before_decoder"
    bundle.save_pretrained(before)
    tokenizer = train_decoder(
        DecoderRun(
            checkpoint=str(before),
            dataset=config.dataset,
            output=config.output / "decoder",
            cameras=plan.cameras,
            depth=plan.depth,
            horizon=plan.clip.length - 1,
            augmented=copies / (copies + 1),
            fit=FitConfig(
                steps=config.decoder_steps,
                log_every=20,
                evaluate_every=100,
                checkpoint_every=100,
                average_decay=0.98,
                stop=StopConfig(figure="believed_rgb_psnr", better="higher", after=3),
            ),
        )
    )
    return replace(bundle, tokenizer=tokenizer.eval().requires_grad_(requires_grad=False))


def settle_persistence(bundle: Bundle, *, plan: Plan) -> Bundle:
    """The bundle that shows as much of the given frame as validation episodes ask for."""
    if not reads_persistence(bundle.tokenizer):
        log.info("the decoder takes no given frame, or reads no beliefs: nothing to fit")
        return bundle
    imagining = bundle.for_imagining(PROBED)
    shape = Shape(cameras=plan.cameras, depth=plan.depth, horizon=plan.clip.length - 1)
    held_out = Imaginings.of(imagining, plan.config.dataset, split="validation", shape=shape)
    found = fit_persistence(held_out)
    log.info(
        "a share of %.2f stays: %.2f dB on validation, %.2f dB without",
        *(found.share, found.psnr_db, found.without_db),
    )
    return with_persistence(bundle, found.share)


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


def measure(bundle: Bundle, *, plan: Plan) -> tuple[Verdict, Path]:
    """Measure the validation episodes, some clips of each; writes verdict, results and report."""
    dataset, output = plan.dataset, plan.config.output
    held_out = len(episodes_of(dataset, "validation"))
    result = evaluate(
        BundlePredictor(bundle.for_imagining(PROBED), name=output.name),
        dataset,
        settings=EvaluationSettings(
            split="validation",
            clips=VERDICT_EPISODES,
            per_episode=math.ceil(VERDICT_CLIPS / min(held_out, VERDICT_EPISODES)),
            horizon=plan.clip.length - 1,
            cameras=plan.cameras,
            examples=1,
        ),
        checkpoint=str(output / "checkpoint"),
    )
    result.results.save(output)
    verdict = judge(result.results, training_episodes=len(episodes_of(dataset, "train")))
    verdict.save(output)
    return verdict, write_report(result.results, result.examples, output)


def held_out_episode(dataset: LeRobotDataset) -> int:
    """The first episode that was not trained on."""
    training = set(episodes_of(dataset, "train"))
    return next(episode for episode in range(dataset.num_episodes) if episode not in training)
