"""Reading LeRobot datasets v2.0, v2.1 and v3.0 where they lie, without the lerobot library."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Float64, UInt8

from roboscape.core.errors import UserError
from roboscape.core.video import Pixels, count_frames, read_frames
from roboscape.dataset import layout
from roboscape.dataset.annotations import (
    SIMULATOR,
    annotated_episodes,
    annotations_folder,
    read_tracks,
)
from roboscape.dataset.checks import check_numbers
from roboscape.dataset.data_files import DataFiles
from roboscape.dataset.episode_index import (
    EpisodeInfo,
    EpisodePlace,
    part_of,
    read_dataset_info,
    read_episode_places,
)
from roboscape.dataset.foreign import (
    CameraFeatures,
    camera_features,
    chosen_cameras,
    dataset_spec,
)
from roboscape.dataset.hub import WHOLE, HubFiles, Part, hub_name
from roboscape.dataset.records import Episode

__all__ = ["EpisodeInfo", "LeRobotDataset", "open_dataset"]


def open_dataset(
    name: str | Path, *, episodes: slice | None = None, cameras: tuple[str, ...] = ()
) -> "LeRobotDataset":
    """Open a dataset or a part of it; of one on a hub, no other part will be fetched.

    Args:
        name: a folder, or `hf://owner/name[@revision][?episodes=0:50&cameras=top,wrist]`.
        episodes: the episodes to open, of step 1; they count from 0 then. All where not given.
        cameras: the cameras to open; all where none is named.
    """
    named = hub_name(name)
    part = named.part if named else WHOLE
    if episodes is not None:
        if episodes.step not in (None, 1):
            raise UserError(f"expected episodes that follow each other, got {episodes}")
        part = replace(part, start=episodes.start or 0, stop=episodes.stop)
    return LeRobotDataset(Path(name), part=replace(part, cameras=cameras or part.cameras))


class LeRobotDataset:
    """A dataset opened in place. Opening reads `meta`; images and numbers are read when asked for.

    `root` is its folder, or its name on a hub, `hf://owner/name` (`roboscape.dataset.hub`).
    Every method that takes an `episode` raises a `ValueError` that names the file when that episode
    is broken; the other episodes stay readable.
    """

    def __init__(self, root: Path, *, part: Part | None = None) -> None:
        name = hub_name(root)
        part = part or (name.part if name else WHOLE)
        self._hub = HubFiles(name) if name else None
        files = self._hub.folder if self._hub else root
        self.is_part = part.home(files) != files
        """Whether these are some episodes of a larger dataset."""
        self.root = part.home(files)
        """The dataset's folder; of a part of its episodes, one beside it, for their annotations."""
        info = read_dataset_info(files)
        self.version: str = info["codebase_version"]
        """LeRobot's format version."""
        self._features: dict[str, dict] = info["features"]
        self._cameras = chosen_cameras(camera_features(info), part.cameras, where=str(root))
        spec = dataset_spec(files, info, source=str(name or root))
        kept = tuple(camera for camera in spec.cameras if camera.name in self._cameras)
        self.spec = replace(spec, cameras=kept)
        """What is the same for every episode."""
        self._places = part_of(read_episode_places(files, info), part, where=str(root))
        images = frozenset(key for key, ft in self._features.items() if ft["dtype"] == "image")
        self._data = DataFiles(files, images=images, hub=self._hub)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self._places)

    @property
    def num_frames(self) -> int:
        """Number of rows of all episodes together."""
        return sum(place.info.length for place in self._places)

    @property
    def names_splits(self) -> bool:
        """True if the dataset's own metadata names every episode's split."""
        return all(place.names_split for place in self._places)

    def episode_info(self, episode: int) -> EpisodeInfo:
        """The metadata of an episode; reads no file."""
        return self._place(episode).info

    def actions(self, episode: int) -> Float32[np.ndarray, "t a"]:
        """Actions as stored; row t was taken at frame t."""
        return self._vectors(episode, layout.ACTION_KEY, names=self.spec.action.names)

    def state(self, episode: int) -> Float32[np.ndarray, "t s"]:
        """Proprioception at every frame; no columns where the dataset has none."""
        if not self.spec.state_names:
            return np.zeros((self._place(episode).info.length, 0), np.float32)
        return self._vectors(episode, layout.STATE_KEY, names=self.spec.state_names)

    def objects(self, episode: int) -> Float32[np.ndarray, "t o"]:
        """Positions of objects at every frame; no columns where none are recorded."""
        if not self.spec.object_names:
            return np.zeros((self._place(episode).info.length, 0), np.float32)
        return self._vectors(episode, layout.OBJECTS_KEY, names=self.spec.object_names)

    def reward(self, episode: int) -> Float32[np.ndarray, " t"]:
        """Reward of every action; zeros where the dataset has none."""
        if layout.REWARD_KEY not in self._features:
            return np.zeros(self._place(episode).info.length, np.float32)
        column = self._rows(episode, layout.REWARD_KEY)[layout.REWARD_KEY]
        return column.to_numpy().astype(np.float32)

    def timestamps_s(self, episode: int) -> Float64[np.ndarray, " t"] | None:
        """The recorded time of every row; None where the dataset keeps none."""
        if "timestamp" not in self._features:
            return None
        column = self._rows(episode, "timestamp")["timestamp"]
        return column.to_numpy().astype(np.float64)

    def frames(
        self, episode: int, camera: str, rows: slice | None = None
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Colour images of an episode, or of some of its rows; one seek into one file."""
        keys = self._camera(camera)
        return self._images(episode, keys.image, rows=rows, pixels="rgb")

    def depth_m(
        self, episode: int, camera: str, rows: slice | None = None
    ) -> Float32[np.ndarray, "t h w"]:
        """Recorded depth in metres, of an episode or of some of its rows."""
        keys = self._camera(camera)
        if keys.depth is None:
            raise UserError(
                f"camera {camera!r} of {self.root} recorded no depth; use estimated depth from its "
                "annotations (`roboscape annotate`)"
            )
        images = self._images(episode, keys.depth, rows=rows, pixels="codes")
        if keys.depth_codec is not None:
            return keys.depth_codec.decode(images)
        return keys.depth_of_images(images)

    def episode(self, episode: int) -> Episode:
        """Everything about one episode."""
        info = self.episode_info(episode)
        names = [camera.name for camera in self.spec.cameras]
        with_depth = [camera.name for camera in self.spec.cameras if camera.has_depth]
        annotations = annotations_folder(self.root)
        return Episode(
            frames={name: self.frames(episode, name) for name in names},
            depth_m={name: self.depth_m(episode, name) for name in with_depth},
            actions=self.actions(episode),
            state=self.state(episode),
            objects=self.objects(episode) if self.spec.object_names else None,
            reward=self.reward(episode),
            task=info.task,
            success=bool(info.success),
            seed=info.seed,
            split=info.split,
            behaviour=info.behaviour,
            tracks={
                name: read_tracks(annotations, annotator=SIMULATOR, camera=name, episode=episode)
                for name in names
                if episode
                in annotated_episodes(annotations, kind="tracks", annotator=SIMULATOR, camera=name)
            },
        )

    def fetch(
        self, episodes: Iterable[int] | None = None, *, cameras: tuple[str, ...] | None = None
    ) -> None:
        """Have files of a dataset on a hub here at once, not each when it is first read.

        Args:
            episodes: those whose files are fetched; all of the part where not given.
            cameras: those whose images are fetched, depth too; all of the part where not given.
        """
        numbers = range(self.num_episodes) if episodes is None else episodes
        places = [self._place(number) for number in numbers]
        keys = self._image_keys(cameras)
        if self._hub is not None:
            videos = (place.videos for place in places)
            self._hub.fetch(spans[key].path for spans in videos for key in keys if key in spans)
        self._data.fetch((place.data for place in places), images=keys)

    def missing_frames(self, episodes: Iterable[int]) -> dict[int, str]:
        """The faults in the lengths of the videos of some episodes; decodes nothing.

        Videos on a hub that were not fetched yet are not looked at.
        """
        count = cache(count_frames)
        problems: dict[int, str] = {}
        keys = self._image_keys()
        for episode in episodes:
            place = self._place(episode)
            for key, span in place.videos.items():
                if key not in keys or (self._hub and not span.path.exists()):
                    continue
                try:
                    start = round(span.from_s * self.spec.fps)
                    self._check_length(count(span.path), start + place.info.length, span.path)
                except ValueError as error:
                    problems[episode] = f"episode {episode} of {self.root}, {key}: {error}"
        return problems

    def _check_length(self, found: int, needed: int, path: Path) -> None:
        """Make sure that a video reaches to its episode's end; alone in its file, exactly there."""
        alone = self.version != layout.FORMAT_VERSION
        if found < needed or (alone and found != needed):
            raise UserError(
                f"{path} holds {found} frames where the rows need {needed}; frames and actions "
                "would not belong together: copy the file again, or leave this episode out"
            )

    def _place(self, episode: int) -> EpisodePlace:
        if not 0 <= episode < len(self._places):
            raise UserError(
                f"{self.root} has episodes 0 to {len(self._places) - 1}, got episode {episode}"
            )
        return self._places[episode]

    def _camera(self, camera: str) -> CameraFeatures:
        if camera not in self._cameras:
            names = ", ".join(self._cameras) or "none"
            raise UserError(f"{self.root} has no camera {camera!r}; it has: {names}")
        return self._cameras[camera]

    def _images(self, episode: int, key: str, *, rows: slice | None, pixels: Pixels) -> np.ndarray:
        place = self._place(episode)
        wanted = range(place.info.length)[rows or slice(None)]
        if self._features[key]["dtype"] == "image":
            stored = self._rows(episode, key)[key].to_pylist()
            images = [_decode_image(stored[row], pixels=pixels) for row in wanted]
            return np.stack(images)
        span = place.videos[key]
        if self._hub is not None:
            self._hub.fetch([span.path])
        start = round(span.from_s * self.spec.fps)
        numbers = range(start + wanted.start, start + wanted.stop, wanted.step)
        try:
            if self.version != layout.FORMAT_VERSION:
                self._check_length(count_frames(span.path), place.info.length, span.path)
            return read_frames(span.path, fps=self.spec.fps, wanted=numbers, pixels=pixels)
        except ValueError as error:
            raise UserError(f"episode {episode} of {self.root}, {key}: {error}") from error

    def _vectors(
        self, episode: int, key: str, *, names: tuple[str, ...]
    ) -> Float32[np.ndarray, "t c"]:
        column = self._rows(episode, key)[key].combine_chunks()
        length, where = self._place(episode).info.length, self._where(episode)
        lists = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
        flat = (column.flatten() if lists else column).to_numpy(zero_copy_only=False)
        if flat.size != length * len(names):
            raise UserError(
                f"{where}: expected {key} rows of {len(names)} numbers, got "
                f"{flat.size / length:g}; the data file and {layout.INFO_PATH} disagree: leave "
                "this episode out, or write it again"
            )
        values = flat.reshape(length, len(names)).astype(np.float32)
        check_numbers(values, width=len(names), what=key, where=where)
        return values

    def _rows(self, episode: int, column: str) -> pa.Table:
        """The rows of one episode, with at least the given column."""
        place, where = self._place(episode), self._where(episode)
        table = self._data.read(place.data, column=column)
        for needed in ("episode_index", column):
            if needed not in table.column_names:
                raise UserError(
                    f"{where}: the file lacks the column {needed!r} that {layout.INFO_PATH} "
                    "promises; leave this episode out, or write it again"
                )
        rows = table.filter(pc.field("episode_index") == place.stored_index)
        if rows.num_rows != place.info.length:
            raise UserError(
                f"{where}: expected {place.info.length} rows (and as many video frames), found "
                f"{rows.num_rows}; leave this episode out, or write it again"
            )
        return rows

    def _image_keys(self, cameras: tuple[str, ...] | None = None) -> set[str]:
        """Features of cameras, colour and depth; of all that were asked for where none is named."""
        found = [self._camera(name) for name in (self._cameras if cameras is None else cameras)]
        return {key for camera in found for key in (camera.image, camera.depth) if key is not None}

    def _where(self, episode: int) -> str:
        return f"episode {episode} in {self._place(episode).data}"


def _decode_image(stored: dict, *, pixels: Pixels) -> np.ndarray:
    """An image that a Parquet file holds (PNG, JPEG or TIFF)."""
    data = np.frombuffer(stored["bytes"] or b"", np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED if pixels == "codes" else cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(
            f"an image kept as {stored.get('path')!r} cannot be decoded; only images inside the "
            "Parquet files are read"
        )
    return image if pixels == "codes" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
