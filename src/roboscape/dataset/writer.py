"""Writing a LeRobot v3.0 dataset, episode by episode."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from roboscape.core.config import load_config, save_config
from roboscape.core.errors import UserError
from roboscape.core.files import read_json, remove
from roboscape.core.settings import differences
from roboscape.dataset import layout
from roboscape.dataset.annotations import (
    SIMULATOR,
    Provenance,
    annotations_folder,
    begin_annotation,
    write_tracks,
)
from roboscape.dataset.checks import check_episode
from roboscape.dataset.part import PartWriter
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.staging import Staging, clear_when_disk_is_full
from roboscape.dataset.statistics import Statistics, aggregate
from roboscape.dataset.tables import (
    read_episode_tables,
    read_tasks,
    statistics_in,
    write_tasks,
)


class DatasetWriter:
    """Appends episodes to a LeRobot v3.0 dataset, new or begun earlier with an equal spec.

    Every `episodes_per_file` episodes (a *part*) one Parquet file, one video per camera and one
    file of episode metadata are moved into place, `meta/info.json` last. So a crash at any moment
    leaves a valid dataset of the finished parts. Memory holds the numbers of one part, no images.

    Raises:
        ValueError: the folder holds a dataset with another spec, or another process writes to it.
    """

    def __init__(self, root: Path, spec: DatasetSpec, *, episodes_per_file: int = 50) -> None:
        self.root = root
        self.spec = spec
        self._episodes_per_file = episodes_per_file
        self._staging = Staging(root, commit_with=layout.INFO_PATH)
        self._tasks: list[str] = []
        self._num_episodes = self._num_frames = self._next_part = 0
        self._statistics: Statistics = {}
        try:
            with clear_when_disk_is_full(root, safe="nothing was begun"):
                self._claim_folder()
            if (root / layout.INFO_PATH).exists():
                self._continue_dataset()
        except ValueError:
            self._staging.close()
            raise
        _remove_uncounted_files(root, part=self._next_part, num_episodes=self._num_episodes)
        self._part = self._new_part()

    @property
    def num_episodes(self) -> int:
        """Episodes added so far, those of the unfinished part included."""
        return self._num_episodes + self._part.num_episodes

    def add(self, episode: Episode) -> None:
        """Append one episode.

        Raises:
            ValueError: it does not fit the dataset, which stays as it was; or the disk is full.
        """
        check_episode(episode, self.spec, where=f"episode {self.num_episodes} for {self.root}")
        if episode.task not in self._tasks:
            self._tasks.append(episode.task)
        with self._part_at_risk():
            self._stage_tracks(episode)
            self._part.add(episode, task_index=self._tasks.index(episode.task))
        if self._part.num_episodes == self._episodes_per_file:
            self.flush()

    def flush(self) -> None:
        """Finish the part: from here on its episodes survive anything."""
        if not self._part.num_episodes:
            return
        with self._part_at_risk():
            self._part.finish()
            statistics = aggregate([self._statistics, *self._part.statistics])
            num_episodes, num_frames = self.num_episodes, self._part.end_frame
            self._stage_metadata(statistics, num_episodes=num_episodes, num_frames=num_frames)
            self._staging.commit()
        self._statistics = statistics
        self._num_episodes, self._num_frames = num_episodes, num_frames
        self._next_part += 1
        self._part = self._new_part()

    def close(self) -> None:
        """Finish the last part and let others write."""
        try:
            self.flush()
        finally:
            self._part.abandon()
            self._staging.close()

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Episodes added before an error of the caller's are good.
        self.close()

    def _claim_folder(self) -> None:
        """Begin a dataset in an empty folder, or make sure that the one there is ours and equal."""
        spec_path = self.root / layout.SPEC_PATH
        # A writer that was killed as it began leaves an empty `meta`, or one of a temporary file.
        for unfinished in spec_path.parent.glob(f".{spec_path.name}.*"):
            remove(unfinished)
        if not spec_path.exists():
            there = [self.root / "data", self.root / "videos", *spec_path.parent.glob("*")]
            if any(path.exists() for path in there):
                raise UserError(
                    f"{self.root} holds a dataset that this program did not write (no "
                    f"{layout.SPEC_PATH}), so it is not appended to; write to a new folder"
                )
            save_config(self.spec, spec_path)
        elif (found := load_config(DatasetSpec, spec_path)) != self.spec:
            raise UserError(
                f"{self.root} holds a dataset with another specification "
                f"({differences(asdict(found), asdict(self.spec))}); episodes of one dataset must "
                "agree: write to a new folder, or use the same settings"
            )

    def _continue_dataset(self) -> None:
        """Take up where an earlier writer stopped."""
        info = read_json(self.root / layout.INFO_PATH)
        self._num_episodes, self._num_frames = info["total_episodes"], info["total_frames"]
        if self._num_episodes:
            episodes = read_episode_tables(self.root, num_episodes=self._num_episodes)
            last = episodes.slice(self._num_episodes - 1).to_pylist()[0]
            part = last["data/chunk_index"] * layout.FILES_PER_CHUNK + last["data/file_index"]
            self._next_part = part + 1
            self._tasks = read_tasks(self.root)[: info["total_tasks"]]
            self._statistics = aggregate(statistics_in(episodes))

    def _new_part(self) -> PartWriter:
        return PartWriter(
            self._staging,
            self.spec,
            number=self._next_part,
            first_episode=self._num_episodes,
            first_frame=self._num_frames,
        )

    @contextmanager
    def _part_at_risk(self) -> Iterator[None]:
        """Throw the unfinished part away when writing it fails; the finished ones are safe."""
        safe = f"the first {self._num_episodes} episodes are safe, later ones were not written"
        try:
            with clear_when_disk_is_full(self.root, safe=safe):
                yield
        except Exception:
            self._part.abandon()
            self._staging.discard()
            self._part = self._new_part()
            raise

    def _stage_tracks(self, episode: Episode) -> None:
        """Put the simulator's tracks among the annotations."""
        if not episode.tracks:
            return
        root = annotations_folder(self._staging.folder)
        about = Provenance(kind="tracks", name=SIMULATOR, version=self.spec.source, settings={})
        begin_annotation(root, about)
        for camera, tracks in episode.tracks.items():
            write_tracks(
                root, tracks, annotator=SIMULATOR, camera=camera, episode=self.num_episodes
            )

    def _stage_metadata(
        self, statistics: Statistics, *, num_episodes: int, num_frames: int
    ) -> None:
        """Write the files of `meta` that speak of the whole dataset."""
        info = layout.info(
            self.spec, episodes=num_episodes, frames=num_frames, tasks=len(self._tasks)
        )
        plain = {
            feature: {name: value.tolist() for name, value in values.items()}
            for feature, values in statistics.items()
        }
        for relative, content in ((layout.INFO_PATH, info), (layout.STATS_PATH, plain)):
            text = json.dumps(content, indent=2)
            self._staging.path(relative).write_text(text + "\n")
        write_tasks(self._staging.path(layout.TASKS_PATH), self._tasks)


def _remove_uncounted_files(root: Path, *, part: int, num_episodes: int) -> None:
    """Delete what a writer moved into place without getting as far as `meta/info.json`."""
    chunk, file = divmod(part, layout.FILES_PER_CHUNK)
    for folder in (root / "data", root / "meta/episodes", *(root / "videos").glob("*")):
        for path in folder.glob("chunk-*/file-*.*"):
            place = (int(path.parent.name.split("-")[1]), int(path.stem.split("-")[1]))
            if place >= (chunk, file):
                remove(path)
    tracks = annotations_folder(root) / f"tracks_{SIMULATOR}"
    for path in tracks.glob("*/episode_*.npz"):
        if int(path.stem.removeprefix("episode_")) >= num_episodes:
            remove(path)
