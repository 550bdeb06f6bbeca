"""Write datasets as a token store: `roboscape tokenize DATASETS --tokenizer DIR --output DIR`."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.clips.split import SPLITS
from roboscape.controls.encoder import PROPRIOCEPTION, ControlEncoder
from roboscape.controls.measure import measure_controls
from roboscape.controls.proprioception import Proprioception
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.core.pretrained import CONFIG, resolve
from roboscape.core.progress import progress
from roboscape.core.settings import differences
from roboscape.dataset.annotations import annotations_folder, annotator_of
from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.encode import Source, encoded_episodes, has_tracks, records_depth
from roboscape.tokens.imagined import remove_others, write_imagined
from roboscape.tokens.selection import kept_starts
from roboscape.tokens.state_reader import OBJECT_READER, StateReader
from roboscape.tokens.store import (
    CLIPS,
    COLUMNS,
    EPISODES,
    STORE,
    StoreConfig,
    TokenStore,
    shard_folder,
    with_cameras,
)
from roboscape.tokens.weights import encoder_sha256, weights_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Encode every frame of some datasets, RGB and depth; goes on where it stopped."""

    datasets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """LeRobot datasets; an episode keeps the split of its dataset. Of several, some may lack depth
    or tracks: the losses then leave these out for their clips."""
    tokenizer: str
    """Folder or hub name of a trained tokenizer."""
    output: Path
    """Folder of the store."""
    cameras: tuple[str, ...] = ()
    """The cameras whose frames are encoded, as views of one frame; the datasets' first where none
    is named."""
    depth: str = RECORDED
    """`recorded`, `none`, or the annotator whose estimates are taken."""
    tracks: str | None = None
    """The annotator whose tracks are taken; where not given: the simulator, else the only one, if
    there is any; `none`."""
    points: int = 320
    """Tracks kept at a time: those that travel farthest."""
    stride: int = 4
    """Native rows between two frames of a clip; the control statistics are measured for it."""
    length: int = 16
    """Frames of a clip: so far the states that `proprioception` imagines are computed beforehand.
    Longer clips can be read, and are imagined as they are."""
    proprioception: str | None = None
    """Folder or hub name of a trained `Proprioception`: control signals then hold the state that it
    imagines; without it, the sum of the commands and the first state."""
    task_size: int = 0
    """Length of a vector of the episode's task text that control signals end with, e.g. 64, for a
    model of many tasks; 0: none."""
    object_reader: str | None = None
    """Folder or hub name of a trained object reader, for a `proprioception` that takes the
    positions of objects."""
    controls: str | None = None
    """Folder or hub name of a checkpoint to fine-tune: keeps its control signals."""
    augmented_copies: int = 0
    """Copies of every training episode in other crops and colours, beside it: few recordings are
    learnt by heart, and a copy has the same motion in other tokens."""
    device: str = AUTO
    """Where frames are encoded: `auto`, `cpu` or `cuda`."""
    episodes_per_shard: int = 50
    """Episodes a shard; an interrupted run repeats at most one shard."""

    def __post_init__(self) -> None:
        """Refuse a store of nothing."""
        least = min(self.points, self.stride, self.length, self.episodes_per_shard)
        if not self.datasets or least < 1:
            raise UserError(
                "expected at least one dataset, and points, stride, length and episodes_per_shard "
                f">= 1; got {self}"
            )
        if self.augmented_copies < 0:
            raise UserError(f"--augmented-copies must be 0 or more, got {self.augmented_copies}")
        if (self.proprioception or self.task_size) and self.controls:
            raise UserError(
                "give --proprioception and --task-size for a new world model or --controls for one "
                "to fine-tune, not both: a checkpoint brings its own"
            )


def run(config: Tokenize) -> TokenStore:
    """Write the missing shards, then what makes the store whole."""
    tokenizer = Tokenizer.from_pretrained(config.tokenizer).to(resolve_device(config.device))
    sha256 = weights_sha256(resolve(config.tokenizer))
    datasets = [LeRobotDataset(root) for root in config.datasets]
    cameras = check_datasets(datasets, tokenizer=tokenizer, config=config)
    check_copies(config)
    shards = plan(
        datasets,
        episodes_per_shard=config.episodes_per_shard,
        augmented_copies=config.augmented_copies,
    )
    settings: dict[str, Any] = {
        "tokenizer_sha256": sha256,
        "cameras": list(cameras),
        "depth": config.depth,
        "tracks": annotator_of(
            annotations_folder(config.datasets[0]), "tracks", asked=config.tracks
        )
        or NONE,
        "points": config.points,
    }
    trackless = [
        f"{dataset.root} ({camera})"
        for dataset in datasets
        for camera in cameras
        if not has_tracks(dataset, camera, settings["tracks"])
    ]
    if settings["tracks"] != NONE and trackless:
        log.info("without tracks: %s", ", ".join(trackless))
    total = sum(source.length for shard in shards for source in shard)
    with progress(total, f"tokenizing into {config.output.name}", unit="frame") as bar:
        for number, sources in enumerate(shards):
            wanted = settings | {"episodes": [source.identity for source in sources]}
            if not is_written(shard_folder(config.output, number), wanted):
                write_shard(
                    shard_folder(config.output, number),
                    encoded_episodes(
                        sources,
                        datasets,
                        tokenizer,
                        cameras=cameras,
                        depth=config.depth,
                        tracks=settings["tracks"],
                        points=config.points,
                    ),
                    settings=wanted,
                )
            bar.update(sum(source.length for source in sources))
    return finish(config, shards=shards, datasets=datasets, tokenizer=tokenizer, settings=settings)


def check_datasets(
    datasets: list[LeRobotDataset], *, tokenizer: Tokenizer, config: Tokenize
) -> tuple[str, ...]:
    """Refuse datasets that do not fit together, or not the tokenizer; the cameras' names."""
    first = datasets[0].spec
    for dataset in datasets[1:]:
        for name in ("action", "state_names", "fps"):
            if getattr(dataset.spec, name) != getattr(first, name):
                raise UserError(
                    f"{dataset.root} has another `{name}` than {datasets[0].root}: "
                    f"{getattr(dataset.spec, name)} against {getattr(first, name)}; "
                    "a store holds recordings of one kind"
                )
    names = config.cameras or (first.cameras[0].name,)
    if len(set(names)) < len(names):
        raise UserError(f"expected each camera once, got --cameras {' '.join(names)}")
    views = [(dataset, name) for dataset in datasets for name in names]
    for dataset, name in views:
        check_camera(dataset.spec, name=name, root=dataset.root, tokenizer=tokenizer)
    check_depth(views, asked=config.depth)
    return names


def check_depth(views: list[tuple[LeRobotDataset, str]], *, asked: str) -> None:
    """Refuse recorded depth where no camera of any dataset recorded it."""
    without = [f"{data.root} ({name})" for data, name in views if not records_depth(data, name)]
    if asked == RECORDED and len(without) == len(views):
        raise UserError(
            f"{without[0]} recorded no depth; run `roboscape annotate` and pass --depth with the "
            "annotator's name, or --depth none for an RGB-only model"
        )
    if asked == RECORDED and without:
        log.info("without depth: %s", ", ".join(without))


def check_camera(spec: DatasetSpec, *, name: str, root: Path, tokenizer: Tokenizer) -> None:
    """Refuse a camera that is not there, or of another size."""
    cameras = {camera.name: camera for camera in spec.cameras}
    if name not in cameras:
        raise UserError(f"{root} has no camera `{name}`; it has {sorted(cameras)}")
    size = tokenizer.config.image_size
    found = cameras[name]
    if (found.height, found.width) != (size, size):
        raise UserError(
            f"{root}: camera `{name}` records {found.height} x {found.width}, the tokenizer takes "
            f"{size} x {size}"
        )


def check_copies(config: Tokenize) -> None:
    """Refuse augmented copies for an arm model that takes objects."""
    if not config.augmented_copies:
        return
    names: tuple[str, ...] = ()
    if config.controls is not None:
        names = ControlEncoder.load(config.controls).object_names
    elif config.proprioception is not None:
        names = Proprioception.from_pretrained(config.proprioception).config.object_names
    if names:
        raise UserError(
            f"the arm model takes {', '.join(names)}, which are read off frames, and an augmented "
            "copy shows them at other places; tokenize without --augmented-copies"
        )


def plan(
    datasets: list[LeRobotDataset], *, episodes_per_shard: int, augmented_copies: int = 0
) -> list[list[Source]]:
    """The shards of the store, each with its episodes: all recordings, then their copies."""
    sources = []
    for number, dataset in enumerate(datasets):
        infos = [dataset.episode_info(episode) for episode in range(dataset.num_episodes)]
        sources += [
            Source(
                dataset=number,
                episode=info.index,
                seed=info.seed,
                length=info.length,
                success=info.success,
                behaviour=info.behaviour,
                task=info.task,
                split=SPLITS.index(info.split),
            )
            for info in infos
        ]
    if not sources:
        raise UserError("the datasets hold no episodes")
    sources += [
        replace(source, copy=copy)
        for copy in range(1, augmented_copies + 1)
        for source in sources
        if source.split == SPLITS.index("train")
    ]
    return [
        sources[start : start + episodes_per_shard]
        for start in range(0, len(sources), episodes_per_shard)
    ]


def is_written(folder: Path, settings: Mapping[str, object]) -> bool:
    """True if a shard is there and of these settings; one of another tokenizer is an error."""
    path = folder / "shard.json"
    if not path.is_file():
        return False
    found = with_cameras(read_json(path))
    names = ("tokenizer_sha256", "cameras", "depth", "tracks", "points")
    earlier, asked = ({name: one[name] for name in names} for one in (found, settings))
    if different := differences(earlier, asked):
        raise UserError(
            f"{folder} was written with other settings ({different}); a store holds one kind of "
            "tokens: choose another --output or delete it"
        )
    return found["episodes"] == settings["episodes"]


def write_shard(
    folder: Path, episodes: Iterator[dict[str, np.ndarray]], *, settings: Mapping[str, object]
) -> None:
    """Write one shard, whole or not at all."""
    collected: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    for columns in episodes:
        for name in COLUMNS:
            collected[name].append(columns[name])
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        for name, arrays in collected.items():
            np.save(temporary / f"{name}.npy", np.concatenate(arrays))
        write_json(temporary / "shard.json", settings)


def finish(
    config: Tokenize,
    *,
    shards: list[list[Source]],
    datasets: list[LeRobotDataset],
    tokenizer: Tokenizer,
    settings: Mapping[str, Any],
) -> TokenStore:
    """Measure the control statistics, write the episode table and, last, `store.json`."""
    rows = [
        {"shard": number, **asdict(source)}
        for number, shard in enumerate(shards)
        for source in shard
    ]
    for shard in range(len(shards)):
        first_row = 0
        for row in (row for row in rows if row["shard"] == shard):
            row["first_row"] = first_row
            first_row += row["length"]
    with atomic_path(config.output / EPISODES) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    sources = [source for shard in shards for source in shard]
    with atomic_path(config.output / CLIPS) as temporary:
        np.save(
            temporary,
            kept_starts(sources, datasets, cameras=settings["cameras"], stride=config.stride),
        )
    controls = control_encoder(config, datasets=datasets)
    imagined = ""
    if controls.proprioception is not None:
        imagined = imagine_states(
            config, shards, model=controls.proprioception, reader=object_reader(config, controls)
        )
        controls.proprioception.save_pretrained(config.output / PROPRIOCEPTION)
    store = StoreConfig(
        tokenizer=tokenizer.config,
        tokenizer_sha256=settings["tokenizer_sha256"],
        encoder_sha256=encoder_sha256(resolve(config.tokenizer)),
        cameras=tuple(settings["cameras"]),
        annotator=settings["tracks"],
        datasets=tuple(str(root) for root in config.datasets),
        controls=controls.statistics,
        has_depth=config.depth != NONE,
        imagined=imagined,
        augmented_copies=config.augmented_copies,
    )
    write_json(config.output / STORE, asdict(store))
    for number in range(len(shards)):
        remove_others(shard_folder(config.output, number), keep=imagined)
    return TokenStore(config.output)


def object_reader(config: Tokenize, controls: ControlEncoder) -> StateReader | None:
    """The object reader, kept in the store too; None for an arm model that takes no objects.

    Raises:
        ValueError: the arm model takes objects, and there is no reader, or one of others.
    """
    if not controls.object_names:
        return None
    found = config.object_reader
    if found is None and config.controls is not None:
        found = str(resolve(config.controls) / OBJECT_READER)
    if found is None or not (resolve(found) / CONFIG).is_file():
        raise UserError(
            f"the arm model takes {', '.join(controls.object_names)}, which are read "
            "off tokens: give --object-reader (`roboscape train state-reader --objects`)"
        )
    reader = StateReader.from_pretrained(found)
    expected = controls.object_names, encoder_sha256(resolve(config.tokenizer))
    if (reader.config.state_names, reader.config.encoder_sha256) != expected:
        raise UserError(
            f"{found} reads {', '.join(reader.config.state_names)} off the tokens of an encoder "
            f"{reader.config.encoder_sha256[:12]}; expected {', '.join(controls.object_names)} and "
            f"the encoder {expected[1][:12]} of {config.tokenizer}"
        )
    reader.save_pretrained(config.output / OBJECT_READER)
    return reader


def imagine_states(
    config: Tokenize,
    shards: list[list[Source]],
    *,
    model: Proprioception,
    reader: StateReader | None,
) -> str:
    """Write the missing arrays of imagined states; returns their name."""
    name = ""
    total = sum(source.length for shard in shards for source in shard)
    with progress(total, "imagining states", unit="row") as bar:
        for number, shard in enumerate(shards):
            lengths = [source.length for source in shard]
            name = write_imagined(
                shard_folder(config.output, number),
                model,
                reader=reader,
                lengths=lengths,
                stride=config.stride,
                frames=config.length,
            )
            bar.update(sum(lengths))
    return name


def control_encoder(config: Tokenize, *, datasets: list[LeRobotDataset]) -> ControlEncoder:
    """Measured on these datasets, or that of the checkpoint that will be fine-tuned.

    Raises:
        ValueError: the checkpoint's signals mean something else than the datasets', or the
            proprioception model was trained on another robot.
    """
    if config.controls is not None:
        known = ControlEncoder.load(config.controls)
        convention = datasets[0].spec.action
        if (known.convention, known.stride) != (convention, config.stride):
            raise UserError(
                f"{config.controls} describes {known.convention} at stride {known.stride}; "
                f"{config.datasets[0]} has {convention} at stride {config.stride}. Convert the "
                "actions, or train without --controls"
            )
        if known.proprioception:
            known.proprioception.check(datasets[0])
        return known
    model = None
    if config.proprioception is not None:
        model = Proprioception.from_pretrained(config.proprioception)
        model.check(datasets[0])
    statistics = measure_controls(
        datasets, stride=config.stride, proprioception=model, task_size=config.task_size
    )
    return ControlEncoder(statistics, model)
