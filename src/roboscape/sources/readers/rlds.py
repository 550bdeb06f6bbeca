"""RLDS / TFDS datasets (Bridge, RT-1, DROID, …), read without TensorFlow, a record at a time."""

import json
import logging
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.records import (
    CameraSpec,
    DatasetSpec,
    Episode,
    Split,
)
from roboscape.sources.readers.protocol import NO_SEED
from roboscape.sources.readers.rlds_datasets import DATASETS, dataset_named
from roboscape.sources.readers.rlds_features import (
    Feature,
    images_of,
    numbers_of,
    read_features,
    text_of,
)
from roboscape.sources.readers.tf_example import Values, encode_example, parse_example
from roboscape.sources.readers.tfrecord import Record, index_records, read_record, write_records

log = logging.getLogger(__name__)

SPLITS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
_FILE_NAME = re.compile(r".*-(?P<split>[^-]+)\.tfrecord(-(?P<shard>\d+)-of-\d+)?$")


class RldsRecordings:
    """The episodes of one version of a TFDS dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = read_json(folder / "dataset_info.json")["name"]
        self._features = read_features(folder / "features.json")
        self._about = dataset_named(self._name, self._features)

    def spec(self) -> DatasetSpec:
        """From `features.json`; the first record shows which cameras are not black."""
        return self._spec

    def keys(self) -> list[str]:
        """`split-shard-record` of every record, by the files' headers."""
        return list(self._records)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One record; an episode that lacks a camera of the others has black frames for it."""
        record = self._records[key]
        example, where = _parse(record), f"{record.path}, record {record.number}"
        names = [camera.name for camera in self.spec().cameras]
        actions = self._numbers(example, self._about.actions, where=where)
        reward = np.zeros(len(actions), np.float32)
        if "steps/reward" in example:
            reward = numbers_of(example, "steps/reward", width=1, where=where)[:, 0]
        return Episode(
            frames={
                name: images_of(example, self._cameras[name], where=where)
                for name in (names if cameras is None else cameras)
            },
            depth_m={},
            actions=actions,
            state=self._numbers(example, self._about.state, where=where, length=len(actions)),
            reward=reward,
            task=self._task(example),
            success=self._about.all_succeed or _success(example, reward),
            seed=NO_SEED,
            behaviour="person",
            tracks={},
            split=self._split(key),
        )

    @cached_property
    def _cameras(self) -> dict[str, str]:
        """Feature of every camera, by name."""
        return {
            name.rpartition("/")[2]: name
            for name, feature in sorted(self._features.items())
            if name.startswith("steps/") and feature.is_camera
        }

    @cached_property
    def _spec(self) -> DatasetSpec:
        example, where = self._first_example()
        cameras = []
        for name, feature in self._cameras.items():
            # A camera that an episode lacks is stored as black images.
            first = {feature: example[feature][:1]} if feature in example else {}
            image = images_of(first, feature, where=where)[0]
            if image.any():
                cameras.append(CameraSpec(name=name, height=image.shape[0], width=image.shape[1]))
        if not self._about.convention.known:
            log.warning(
                "%s: nothing is known about dataset %r (known: %s): the meaning of its actions is "
                "left open and its rate taken to be %g Hz; write both into meta/roboscape.json",
                self.folder,
                self._name,
                ", ".join(DATASETS),
                self._about.fps,
            )
        return DatasetSpec(
            fps=self._about.fps,
            robot_type=self._about.robot_type,
            cameras=tuple(cameras),
            state_names=self._about.state_names,
            action=self._about.convention,
            source=f"RLDS {self._name} {self.folder.name}",
        )

    @cached_property
    def _records(self) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for path in sorted(self.folder.glob("*.tfrecord*")):
            match = _FILE_NAME.match(path.name)
            if match is None:
                continue
            for record in index_records(path):
                shard = int(match["shard"] or 0)
                found[f"{match['split']}-{shard:05d}-{record.number:06d}"] = record
                if record.damage:
                    log.warning("%s, record %d: %s", path, record.number, record.damage)
        if not found:
            raise UserError(f"{self.folder} holds no `*-SPLIT.tfrecord*` files with records")
        return found

    def _first_example(self) -> tuple[dict[str, Values], str]:
        """The first record that can be read, and what a message calls it."""
        for record in self._records.values():
            try:
                return _parse(record), f"{record.path}, record {record.number}"
            except ValueError as error:
                log.warning("%s", error)
        raise UserError(f"no record of {self.folder} can be read; copy the dataset again")

    def _numbers(
        self,
        example: dict[str, Values],
        parts: tuple[str, ...],
        *,
        where: str,
        length: int | None = None,
    ) -> np.ndarray:
        """Some features of a step side by side; no features are rows of no numbers."""
        columns = [
            numbers_of(
                example,
                f"steps/{part}",
                width=self._features[f"steps/{part}"].width,
                where=where,
            )
            for part in parts
        ]
        if len({len(column) for column in columns} - {length or len(columns[0])}):
            raise UserError(
                f"{where}: {parts} have {[len(column) for column in columns]} rows, expected "
                f"{length or 'one number'} for all; leave the episode out"
            )
        return np.concatenate(columns, 1) if columns else np.zeros((length or 0, 0), np.float32)

    def _task(self, example: dict[str, Values]) -> str:
        names = [name for name in self._features if "instruction" in name and name in example]
        texts = [text_of(example, name) for name in sorted(names) if self._is_text(name)]
        return next((text for text in texts if text), "")

    def _is_text(self, name: str) -> bool:
        feature: Feature = self._features[name]
        return feature.kind == "Text" or feature.dtype == "string"

    def _split(self, key: str) -> Split | None:
        """The split of an episode where there are several."""
        splits = {name.split("-")[0] for name in self._records}
        return SPLITS.get(key.split("-")[0]) if len(splits) > 1 else None


def open_recordings(source: Path) -> RldsRecordings:
    """Open a TFDS dataset: the folder of a version, or the one above it (the newest version)."""
    if (source / "features.json").is_file():
        return RldsRecordings(source)
    versions = [path.parent for path in source.glob("*/features.json")]
    if not versions:
        raise UserError(
            f"expected a TFDS dataset with features.json and *.tfrecord files in {source} or a "
            "version folder of it, found none"
        )
    return RldsRecordings(max(versions, key=_version))


def example(folder: Path) -> Path:
    """Two episodes of six steps in the format of Bridge, two cameras of 32 x 48."""
    version = folder / "bridge_dataset" / "1.0.0"
    version.mkdir(parents=True)
    info = {"name": "bridge_dataset", "version": "1.0.0", "splits": [{"name": "train"}]}
    (version / "dataset_info.json").write_text(json.dumps(info))
    (version / "features.json").write_text(json.dumps(_example_features()))
    episodes = [_example_episode(number, steps=6) for number in range(2)]
    write_records(version / "bridge_dataset-train.tfrecord-00000-of-00001", episodes)
    return version


def _parse(record: Record) -> dict[str, Values]:
    """The features of a record."""
    content = read_record(record)
    try:
        return parse_example(content)
    except ValueError as error:
        raise UserError(
            f"{record.path}, record {record.number}, byte {record.offset}: {error}"
        ) from error


def _success(example: dict[str, Values], reward: np.ndarray) -> bool:
    """True if the last step was rewarded or ended the task (a demonstration's does)."""
    terminal = example.get("steps/is_terminal")
    return bool(reward[-1:] > 0) or bool(terminal is not None and len(terminal) and terminal[-1])


def _version(folder: Path) -> tuple[int, ...]:
    """A version folder's numbers, to be ordered by."""
    return tuple(int(part) for part in re.findall(r"\d+", folder.name))


def _example_features() -> dict[str, Any]:
    """`features.json` of the example."""

    def leaf(kind: str, **about: Any) -> dict[str, Any]:
        return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **about}

    def group(features: dict[str, Any]) -> dict[str, Any]:
        return leaf("features_dict.FeaturesDict", featuresDict={"features": features})

    row = leaf("tensor.Tensor", tensor={"shape": {"dimensions": ["7"]}, "dtype": "float32"})
    size = {"dimensions": ["32", "48", "3"]}
    image = leaf("image.Image", image={"shape": size, "dtype": "uint8", "encodingFormat": "jpeg"})
    step = {
        "action": row,
        "observation": group({"state": row, "image_0": image, "image_1": image}),
        "language_instruction": leaf("text.Text", text={}),
        "reward": leaf("scalar.Scalar", tensor={"shape": {}, "dtype": "float32"}),
    }
    return group({"steps": leaf("dataset.Dataset", sequence={"feature": group(step)})})


def _example_episode(number: int, *, steps: int) -> bytes:
    """A record of the example: a square that moves right, states that sum up the actions."""
    frames = np.full((2, steps, 32, 48, 3), 60 + 40 * number, np.uint8)
    for step in range(steps):
        frames[:, step, 8:16, 4 + 4 * step : 12 + 4 * step, 0] = 250
    images = [
        [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in view] for view in frames
    ]
    actions = np.random.default_rng(number).uniform(-0.02, 0.02, (steps, 7)).astype(np.float32)
    actions[:, 6] = np.arange(steps) < steps // 2
    state = np.concatenate([actions[:, :6].cumsum(axis=0) + 0.3, actions[:, 6:]], axis=1)
    reward = np.zeros(steps, np.float32)
    reward[-1] = 1
    return encode_example(
        {
            "steps/action": actions.ravel(),
            "steps/observation/state": state.ravel(),
            "steps/observation/image_0": images[0],
            "steps/observation/image_1": images[1],
            "steps/language_instruction": [b"move the square"] * steps,
            "steps/reward": reward,
        }
    )
