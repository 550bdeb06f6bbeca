"""The measuring itself: clips in, scores out, one batch of videos in memory at a time."""

from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.core.progress import progress
from roboscape.core.seeding import seed_for
from roboscape.dataset.cameras import camera_pose
from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.control import GENIE_FRAME, delta_psnr_db, partner_clips, random_actions
from roboscape.evaluate.metrics import (
    IMAGINED_ACTIONS,
    MOVING_PSNR,
    STILL_PSNR,
    Metric,
    consistency_names,
    delta_psnr_name,
    imagined_depth,
    token_accuracy_name,
)
from roboscape.evaluate.protocol import (
    Predictor,
    TaskPredictor,
    TokenPredictor,
    TokenVideos,
    check_prediction,
    some_clips,
)
from roboscape.evaluate.results import Row, Subject
from roboscape.evaluate.scores import ScoreBook, ScoreKey
from roboscape.evaluate.subjects import StillPicture, still_tokens, through_tokenizer
from roboscape.evaluate.tasks import (
    Outcome,
    TaskMetric,
    TaskResult,
    count_outcomes,
    decided_clips,
)
from roboscape.evaluate.views import consistency
from roboscape.rollout.videos import Videos

TRUTH = "truth"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of a measurement: the prediction and its scoring."""

    metrics: tuple[Metric, ...]
    tasks: tuple[TaskMetric, ...]
    """Those that can be measured on these clips."""
    seeds: tuple[int, ...]
    batch_size: int


@dataclass
class Measurement:
    """The results so far."""

    subject: Predictor
    clips: ClipSet
    plan: Plan
    book: ScoreBook = field(init=False)
    outcomes: dict[tuple[str, str], dict[int, list[Outcome]]] = field(default_factory=dict)
    """By task and what was watched (`truth` or a subject), then by seed."""
    kept: "KeptVideos" = field(default_factory=lambda: KeptVideos())
    """The first seed's videos."""

    def __post_init__(self) -> None:
        """Begin an empty book."""
        self.book = ScoreBook(episodes=np.array(self.clips.episodes))

    def run(self) -> None:
        """Measure every clip."""
        with progress(len(self.clips), "evaluating", unit="clip") as bar:
            for batch in self.clips.batches(self.plan.batch_size):
                self.measure_batch(batch)
                bar.update(len(batch))

    def measure_batch(self, batch: range) -> None:
        """Floors, ceiling and every seed of the model on some clips."""
        truth = self.clips.videos(batch)
        ceiling = None
        if isinstance(self.subject, TokenPredictor):
            ceiling = through_tokenizer(self.subject.codec, truth)
        self._score_fixed(batch, truth, ceiling)
        for seed in self.plan.seeds:
            self._score_model(batch, seed, truth=truth, ceiling=ceiling)

    def rows(self) -> tuple[Row, ...]:
        """The table so far."""
        rows = [
            self.book.row(name, reference=reference, camera=camera)
            for metric in self.plan.metrics
            for name in metric.names
            for reference in metric.references
            for camera in self._row_cameras()
        ]
        rows += self._consistency_rows()
        for protocol in IMAGINED_ACTIONS:
            at_frame = GENIE_FRAME if protocol == "genie_random" else None
            name = delta_psnr_name(protocol, missing=self._why_no_delta(protocol))
            rows += [
                self.book.row(name, reference=reference, at_frame=at_frame, camera=camera)
                for reference in ("raw", "decoded")
                for camera in self._row_cameras()
            ]
        rows += [
            self.book.row(token_accuracy_name(modality), reference="codes", camera=camera)
            for modality in ("rgb", "depth")
            for camera in self._row_cameras()
        ]
        has_tokens = isinstance(self.subject, TokenPredictor)
        shown = [
            row
            for row in rows
            if (has_tokens or row.reference != "decoded") and (not row.camera or row.is_measured)
        ]
        return tuple(row if row.model else explain(row, has_tokens=has_tokens) for row in shown)

    def _row_cameras(self) -> tuple[str, ...]:
        """The mean over all cameras, then each of several."""
        return ("", *(self.clips.cameras if len(self.clips.cameras) > 1 else ()))

    def _consistency_rows(self) -> list[Row]:
        """Rows that compare one view with another, where there are several."""
        cameras = self.clips.cameras
        if len(cameras) < 2:
            return []
        directions = [f"{one} → {other}" for one, other in permutations(cameras, 2)]
        return [
            self.book.row(name, reference=reference, camera=direction)
            for name in consistency_names(missing=self._why_no_consistency())
            for reference in ("raw", "decoded")
            for direction in ("", *directions)
        ]

    def task_results(self) -> tuple[TaskResult, ...]:
        """The task metrics so far."""
        return tuple(self._task_result(task) for task in self.plan.tasks)

    def decided(self, task: TaskMetric) -> np.ndarray:
        """A mask of the clips that count in a task metric."""
        true = self.outcomes[task.name.key, TRUTH][0]
        return decided_clips(true, task.recorded(self.clips))

    def _task_result(self, task: TaskMetric) -> TaskResult:
        """One task metric's counts for everything that is compared."""
        key, recorded, decided = task.name.key, task.recorded(self.clips), self.decided(task)
        true = self.outcomes[key, TRUTH][0]
        counts = {
            subject: count_outcomes(
                true, [o for one in found.values() for o in one], decided=decided
            )
            for subject in ("model", "static", "ceiling")
            if (found := self.outcomes.get((key, subject)))
        }
        agreement = None
        if recorded is not None:
            agreement = float(np.mean([o.happened for o in true] == recorded))
        return TaskResult(
            name=task.name,
            model=counts["model"],
            static=counts["static"],
            ceiling=counts.get("ceiling"),
            undecided=int((~decided).sum()),
            detector_agreement=agreement,
        )

    def _score_fixed(self, batch: range, truth: Videos, ceiling: TokenVideos | None) -> None:
        """Score what does not depend on the model: floors and ceiling."""
        given = given_frame(truth)
        still = StillPicture(self.clips.stride).predict(
            given, self.clips.states(batch), self._true_actions(batch)
        )
        self._score("raw", "static", truth, still)
        self._score_consistency(batch, "static", ("raw",), still)
        self._score_consistency(batch, "ceiling", ("raw",), truth)
        self._watch(TRUTH, truth, truth)
        self._watch("static", truth, still)
        if ceiling is not None:
            assert isinstance(self.subject, TokenPredictor)
            frames = self.clips.num_frames
            still_decoded = still_tokens(self.subject.codec, given, frames=frames)
            self._score("raw", "static_decoded", truth, still_decoded)
            self._score("raw", "ceiling", truth, ceiling)
            self._score("decoded", "static_decoded", ceiling, still_decoded)
            self._score_tokens("static_decoded", ceiling, still_decoded)
            self._score_consistency(batch, "static_decoded", ("raw", "decoded"), still_decoded)
            self._score_consistency(batch, "ceiling", ("decoded",), ceiling)
            self._watch("ceiling", truth, ceiling)
        for metric in self.plan.metrics:
            if metric.weigh is not None and truth.depth_m is not None:
                weights = {name: metric.weigh(view) for name, view in self._views(truth).items()}
                for name in metric.names:
                    self.book.add_weights(name.key, weights)

    def _score_model(
        self, batch: range, seed: int, *, truth: Videos, ceiling: TokenVideos | None
    ) -> None:
        """Predictions under the true actions, and how much other actions change them."""
        predicted, others = self._predict(batch, seed, prompt=given_frame(truth))
        if seed == self.plan.seeds[0]:
            self.kept.add(predicted, start=batch.start)
        references = {"raw": truth} if ceiling is None else {"raw": truth, "decoded": ceiling}
        for reference, video in references.items():
            self._score(reference, "model", video, predicted, seed=seed)
            for protocol, other in others.items():
                shown, changed = self._views(predicted), self._views(other)
                deltas = {
                    name: delta_psnr_db(
                        view.rgb[:, 1:],
                        with_true_actions=shown[name].rgb[:, 1:],
                        with_other_actions=changed[name].rgb[:, 1:],
                    )
                    for name, view in self._views(video).items()
                }
                key = ScoreKey(f"delta_psnr@{protocol}", reference, "model")
                self.book.add_views(key, deltas, seed=seed)
        if ceiling is not None:
            self._score_tokens("model", ceiling, predicted, seed=seed)
        self._score_consistency(batch, "model", tuple(references), predicted, seed=seed)
        self._watch("model", truth, predicted, seed=seed)

    def _predict(
        self, batch: range, seed: int, *, prompt: Videos
    ) -> tuple[Videos, dict[str, Videos]]:
        """Videos of some clips under the true actions, and by protocol under other actions.

        They run as one batch; the randomness depends on the seed and the clips alone.
        """
        protocols = [name for name in IMAGINED_ACTIONS if not self._why_no_delta(name)]
        actions = [
            self._true_actions(batch),
            *(self._other_actions(name, batch, seed) for name in protocols),
        ]
        prompts = prompt.map(lambda array: np.concatenate([array] * len(actions)))
        subject = self.subject
        if isinstance(subject, TaskPredictor):
            texts = tuple(self.clips.info(c).task for c in batch)
            subject = subject.with_tasks(texts * len(actions))
        found = subject.predict(
            prompts,
            np.concatenate([self.clips.states(batch)] * len(actions)),
            np.concatenate(actions),
            seed=seed_for(seed, batch.start),
        )
        check_prediction(found, prompts, spec=self.subject.spec, frames=self.clips.num_frames)
        first, *others = (
            some_clips(found, slice(start, start + len(batch)))
            for start in range(0, len(actions) * len(batch), len(batch))
        )
        return first, dict(zip(protocols, others, strict=True))

    def _true_actions(self, batch: range) -> Float[np.ndarray, "b rows a"]:
        """The actions that were taken."""
        return np.stack([self.clips.actions[clip] for clip in batch])

    def _other_actions(
        self, protocol: str, batch: range, seed: int
    ) -> Float[np.ndarray, "b rows a"]:
        """Actions that were not the ones taken."""
        if protocol == "shuffled":
            partner = partner_clips(self.clips.episodes, seed=seed)
            return np.stack([self.clips.actions[partner[clip]] for clip in batch])
        pool = np.concatenate(self.clips.actions)
        frames, stride = self.clips.num_frames - 1, self.clips.stride
        return np.stack(
            [
                random_actions(pool, num_frames=frames, stride=stride, seed=seed, clip=clip)
                for clip in batch
            ]
        )

    def _why_no_delta(self, protocol: str) -> str:
        """The reason why a protocol of Delta PSNR can't be followed here; empty where it can."""
        if protocol == "shuffled" and len(set(self.clips.episodes)) < 2:
            return "not computed: needs the actions of another episode; evaluate 2 episodes or more"
        if protocol == "genie_random" and self.clips.num_frames - 1 < GENIE_FRAME:
            return f"not computed: taken at predicted frame {GENIE_FRAME}, beyond this horizon"
        return ""

    def _score(
        self, reference: str, subject: Subject, truth: Videos, predicted: Videos, *, seed: int = 0
    ) -> None:
        """Every metric that compares with this reference, camera by camera."""
        copied = np.array_equal(predicted.rgb[:, 0], truth.rgb[:, 0])
        for metric in self.plan.metrics:
            no_depth = truth.depth_m is None or predicted.depth_m is None
            if reference not in metric.references or (metric.needs_depth and no_depth):
                continue
            if metric.counts_given_frame and copied:
                continue
            shown = self._views(predicted)
            found = {
                camera: metric.measure(view, shown[camera])
                for camera, view in self._views(truth).items()
            }
            for number, name in enumerate(metric.names):
                scores = {camera: parts[number] for camera, parts in found.items()}
                self.book.add_views(ScoreKey(name.key, reference, subject), scores, seed=seed)

    def _views(self, videos: Videos) -> dict[str, Videos]:
        """The images of each camera: no metric looks across the seam between two."""
        cameras = self.clips.cameras
        return dict(zip(cameras, videos.views(len(cameras)), strict=True))

    def _score_consistency(
        self,
        batch: range,
        subject: Subject,
        references: tuple[str, ...],
        videos: Videos,
        *,
        seed: int = 0,
    ) -> None:
        """Score whether the views of every predicted frame show one scene; needs no reference."""
        spec, cameras = self.clips.dataset.spec, self.clips.cameras
        if len(cameras) < 2 or videos.depth_m is None or self._why_no_consistency():
            return
        states = self.clips.recorded_states(batch)[:, 1:]
        found = consistency(
            {name: imagined_depth(view) for name, view in self._views(videos).items()},
            {name: [[camera_pose(spec, name, s) for s in c] for c in states] for name in cameras},
            nearest_m=spec.depth_min_m,
            farthest_m=spec.depth_max_m,
        )
        for number, name in enumerate(consistency_names()):
            scores = {direction: parts[number] for direction, parts in found.items()}
            for reference in references:
                self.book.add_views(ScoreKey(name.key, reference, subject), scores, seed=seed)

    def _why_no_consistency(self) -> str:
        """The reason why views can't be compared here; empty where they can."""
        known = {one.name: one.geometry for one in self.clips.dataset.spec.cameras}
        if unknown := [camera for camera in self.clips.cameras if known[camera] is None]:
            return f"not computed: the dataset does not say where {' and '.join(unknown)} is"
        return ""

    def _score_tokens(
        self, subject: Subject, truth: TokenVideos, predicted: Videos, *, seed: int = 0
    ) -> None:
        """Token accuracy in both modalities."""
        assert isinstance(predicted, TokenVideos), "a TokenPredictor predicts TokenVideos"
        true, found = truth.codes, predicted.codes
        pairs = {"rgb": (true.rgb, found.rgb), "depth": (true.depth, found.depth)}
        for modality, (true_codes, codes) in pairs.items():
            if true_codes is not None and codes is not None:
                key = ScoreKey(token_accuracy_name(modality).key, "codes", subject)
                cameras = self.clips.cameras
                pieces = (one.chunk(len(cameras), dim=-1) for one in (true_codes, codes))
                scores = {
                    camera: token_accuracy(*pair)
                    for camera, *pair in zip(cameras, *pieces, strict=True)
                }
                self.book.add_views(key, scores, seed=seed)

    def _watch(self, subject: str, truth: Videos, shown: Videos, *, seed: int = 0) -> None:
        """Read every task metric's outcomes off what the camera that stands still shows."""
        cameras, place = len(self.clips.cameras), self.clips.still_view or 0
        truth, shown = truth.views(cameras)[place], shown.views(cameras)[place]
        for task in self.plan.tasks:
            found = self.outcomes.setdefault((task.name.key, subject), {})
            found.setdefault(seed, []).extend(task.read(truth, shown))


class KeptVideos:
    """The predicted videos of all clips, in a temporary folder: examples are chosen at the end."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="roboscape_evaluate_")
        self._places: list[tuple[int, int]] = []

    def add(self, videos: Videos, *, start: int) -> None:
        """Keep a batch; batches come in the order of the clips."""
        np.save(self._path("rgb", start), videos.rgb)
        if videos.depth_m is not None:
            np.save(self._path("depth", start), videos.depth_m)
        self._places += [(start, number) for number in range(len(videos))]

    def clip(self, clip: int) -> Videos:
        """One clip, a batch of one."""
        start, number = self._places[clip]
        parts = {
            kind: np.array(np.load(path, mmap_mode="r")[number : number + 1])
            for kind in ("rgb", "depth")
            if (path := self._path(kind, start)).is_file()
        }
        return Videos(rgb=parts["rgb"], depth_m=parts.get("depth"))

    def _path(self, kind: str, start: int) -> Path:
        return Path(self._folder.name) / f"{kind}_{start:06d}.npy"


def given_frame(truth: Videos) -> Videos:
    """The part of the true videos that a model gets to see: their first frame."""
    return truth.map(lambda array: array[:, :1])


def token_accuracy(
    truth: Int[Tensor, "b t n"], predicted: Int[Tensor, "b t n"]
) -> Float[np.ndarray, "b h"]:
    """Share of right tokens in each frame after the given one."""
    right = (truth[:, 1:] == predicted[:, 1:]).double()
    return reduce(right, "b t n -> b t", "mean").numpy()


def explain(row: Row, *, has_tokens: bool) -> Row:
    """A row without a score of the model says why."""
    if row.reference == "codes" and not has_tokens:
        why = "not computed: the model has no tokens"
    elif row.name.key.startswith("psnr@ivideogpt"):
        why = "not computed: counts the given frame, which this model copies"
    elif row.name.key in (MOVING_PSNR, STILL_PSNR):
        kind = "moves" if row.name.key == MOVING_PSNR else "rests"
        why = f"not computed: nothing {kind} in the true videos"
    elif row.static is None and row.ceiling is None and row.static_decoded is None:
        why = "not computed: there is no depth to compare with, or the model predicts none"
    else:
        why = "not computed: the model predicts no depth"
    return replace(row, name=replace(row.name, missing=row.name.missing or why))
