"""The part of a dataset that is being written: one file of each kind, not yet in its place."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from roboscape.core.video import Pixels, VideoWriter
from roboscape.dataset import layout
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.splits import split_of
from roboscape.dataset.staging import Staging
from roboscape.dataset.statistics import Statistics, episode_statistics


class PartWriter:
    """Collects episodes in one Parquet file and one video per camera; images go to disk at once."""

    def __init__(
        self,
        staging: Staging,
        spec: DatasetSpec,
        *,
        number: int,
        first_episode: int,
        first_frame: int,
    ) -> None:
        self.statistics: list[Statistics] = []
        self._staging = staging
        self._spec = spec
        self._chunk, self._file = divmod(number, layout.FILES_PER_CHUNK)
        self._first_episode = first_episode
        self._next_frame = first_frame
        self._videos: dict[str, VideoWriter] = {}
        self._tables: list[pa.Table] = []
        self._rows: list[dict[str, Any]] = []

    @property
    def num_episodes(self) -> int:
        """Episodes of this part so far."""
        return len(self._rows)

    @property
    def end_frame(self) -> int:
        """Number of the dataset's frames up to the end of this part."""
        return self._next_frame

    def add(self, episode: Episode, *, task_index: int) -> None:
        """Encode an episode's images and remember its numbers.

        Interrupted while encoding, it leaves frames in the videos that no row refers to: harmless.
        """
        starts = self._write_images(episode)
        columns = self._columns(episode, task_index=task_index)
        described = episode_statistics(episode, columns)
        self._tables.append(_frame_table(episode, columns))
        self.statistics.append(described)
        self._rows.append(self._episode_row(episode, starts=starts, statistics=described))
        self._next_frame += len(episode)

    def finish(self) -> None:
        """Write what is in memory; then every file of the part is complete, if not in its place."""
        for video in self._videos.values():
            video.close()
        with pq.ParquetWriter(self._path(layout.DATA_PATH), self._tables[0].schema) as writer:
            for table in self._tables:
                # One row group an episode, as LeRobot does: an episode can be read on its own.
                writer.write_table(table)
        pq.write_table(pa.Table.from_pylist(self._rows), self._path(layout.EPISODES_PATH))

    def abandon(self) -> None:
        """Let go of the open files."""
        for video in self._videos.values():
            video.abandon()

    def _path(self, pattern: str, **names: str) -> str:
        relative = pattern.format(chunk_index=self._chunk, file_index=self._file, **names)
        return str(self._staging.path(relative))

    def _write_images(self, episode: Episode) -> dict[str, int]:
        """Encode every camera; the first frame of the episode in each video, by feature."""
        codec = layout.depth_codec(self._spec)
        starts: dict[str, int] = {}
        for camera in self._spec.cameras:
            key = layout.image_key(camera.name)
            starts[key] = self._encode(key, episode.frames[camera.name], pixels="rgb")
            if camera.has_depth:
                key = layout.depth_key(camera.name)
                codes = codec.encode(episode.depth_m[camera.name])
                starts[key] = self._encode(key, codes, pixels="codes")
        return starts

    def _encode(self, key: str, images: Shaped[np.ndarray, "t h w ..."], *, pixels: Pixels) -> int:
        if key not in self._videos:
            self._videos[key] = VideoWriter(
                self._staging.path(
                    layout.VIDEO_PATH.format(
                        video_key=key, chunk_index=self._chunk, file_index=self._file
                    )
                ),
                fps=self._spec.fps,
                height=images.shape[1],
                width=images.shape[2],
                pixels=pixels,
            )
        start = self._videos[key].frames_written
        self._videos[key].write(images)
        return start

    def _columns(self, episode: Episode, *, task_index: int) -> dict[str, Shaped[np.ndarray, " t"]]:
        """The bookkeeping columns of an episode's rows."""
        frame_index = np.arange(len(episode))
        return {
            "timestamp": (frame_index / self._spec.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(len(episode), self._first_episode + self.num_episodes),
            "index": self._next_frame + frame_index,
            "task_index": np.full(len(episode), task_index),
        }

    def _episode_row(
        self, episode: Episode, *, starts: dict[str, int], statistics: Statistics
    ) -> dict[str, Any]:
        """One row of `meta/episodes`."""
        place = {"chunk_index": self._chunk, "file_index": self._file}
        row: dict[str, Any] = {
            "episode_index": self._first_episode + self.num_episodes,
            "tasks": [episode.task],
            "length": len(episode),
            "seed": episode.seed,
            "split": episode.split or split_of(episode.seed),
            "success": bool(episode.success),
            "behaviour": episode.behaviour,
            "dataset_from_index": self._next_frame,
            "dataset_to_index": self._next_frame + len(episode),
            **{f"data/{name}": value for name, value in place.items()},
            **{f"meta/episodes/{name}": value for name, value in place.items()},
        }
        for key, start in starts.items():
            row |= {f"videos/{key}/{name}": value for name, value in place.items()}
            row[f"videos/{key}/from_timestamp"] = start / self._spec.fps
            row[f"videos/{key}/to_timestamp"] = (start + len(episode)) / self._spec.fps
        for key, values in statistics.items():
            row |= {f"stats/{key}/{name}": value.tolist() for name, value in values.items()}
        return row


def _frame_table(episode: Episode, columns: dict[str, Shaped[np.ndarray, " t"]]) -> pa.Table:
    """The rows of an episode: one a frame, images excepted."""
    done = np.arange(len(episode)) == len(episode) - 1
    return pa.table(
        {
            # A feature of no numbers is none: Parquet and LeRobot know no lists of length 0.
            **({layout.STATE_KEY: _vectors(episode.state)} if episode.state.shape[1] else {}),
            **({} if episode.objects is None else {layout.OBJECTS_KEY: _vectors(episode.objects)}),
            layout.ACTION_KEY: _vectors(episode.actions),
            layout.REWARD_KEY: pa.array(episode.reward.astype(np.float32)),
            layout.DONE_KEY: pa.array(done),
            layout.SUCCESS_KEY: pa.array(done & bool(episode.success)),
            **{name: pa.array(values) for name, values in columns.items()},
        }
    )


def _vectors(values: Shaped[np.ndarray, "t c"]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(values.size))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
