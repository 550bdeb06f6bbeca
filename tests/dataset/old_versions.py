"""Datasets of LeRobot's earlier formats, written by hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.core.video import VideoWriter

LENGTHS = (9, 7)
CHUNK, EPISODE = "chunk-{episode_chunk:03d}", "episode_{episode_index:06d}"
TOP = "observation.images.top"


def frames_of(episode: int) -> np.ndarray:
    y, x = np.mgrid[:16, :24]
    moving = [
        np.stack([x * 9, y * 9, x + y + 30 * episode + t], -1) for t in range(LENGTHS[episode])
    ]
    return np.stack(moving).astype(np.uint8)


def actions_of(episode: int) -> np.ndarray:
    return np.arange(LENGTHS[episode] * 2, dtype=np.float32).reshape(-1, 2) + 100 * episode


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_dataset(root: Path, *, version: str, image_kind: str) -> None:
    """Two episodes, one file of each kind per episode, `meta` in JSON lines."""
    features = {
        TOP: {"dtype": image_kind, "shape": [3, 16, 24], "names": ["channels", "height", "width"]},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "action": {"dtype": "float32", "shape": [2], "names": None},
    }
    info = {
        "codebase_version": version,
        "robot_type": "so100",
        "fps": 30,
        "features": features,
        "total_episodes": 2,
        "total_frames": sum(LENGTHS),
        "total_tasks": 1,
        "total_videos": 2,
        "total_chunks": 1,
        "chunks_size": 1,
        "splits": {"train": "0:2"},
        "data_path": f"data/{CHUNK}/{EPISODE}.parquet",
        "video_path": f"videos/{CHUNK}/{{video_key}}/{EPISODE}.mp4",
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    rows = [
        {"episode_index": number, "tasks": ["stack"], "length": length}
        for number, length in enumerate(LENGTHS)
    ]
    write_lines(root / "meta/episodes.jsonl", rows[::-1])
    write_lines(root / "meta/tasks.jsonl", [{"task_index": 0, "task": "stack"}])
    for episode, length in enumerate(LENGTHS):
        columns = {
            "observation.state": pa.array((-actions_of(episode)).tolist()),
            "action": pa.array(actions_of(episode).tolist(), pa.list_(pa.float32())),
            "timestamp": pa.array(np.arange(length, dtype=np.float32) / 30),
            "frame_index": pa.array(np.arange(length)),
            "episode_index": pa.array(np.full(length, episode)),
            "index": pa.array(np.arange(length) + sum(LENGTHS[:episode])),
            "task_index": pa.array(np.zeros(length, np.int64)),
        }
        if image_kind == "image":
            columns[TOP] = pa.array([png(frame) for frame in frames_of(episode)])
        path = root / f"data/chunk-{episode:03d}/episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table(columns), path)
        if image_kind == "video":
            path = root / f"videos/chunk-{episode:03d}/{TOP}/episode_{episode:06d}.mp4"
            path.parent.mkdir(parents=True)
            with VideoWriter(path, fps=30.0, height=16, width=24) as video:
                video.write(frames_of(episode))


def png(frame: np.ndarray) -> dict:
    _, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return {"bytes": data.tobytes(), "path": "frame.png"}
