"""A dataset at a glance: a picture of episodes over time, and the same episodes moving."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from roboscape.core.files import atomic_path
from roboscape.core.video import KEY_FRAME_EVERY, VideoWriter
from roboscape.dataset.annotations import annotated_episodes, annotators, read_tracks
from roboscape.dataset.reader import EpisodeInfo, LeRobotDataset
from roboscape.dataset.records import Tracks
from roboscape.inspection import pictures

TILE_HEIGHT = 176
GAP = 6
LABEL_WIDTH = 190
HEADER_HEIGHT = 34
TRACKS_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One episode, ready to be drawn: enlarged pictures with their tracks."""

    info: EpisodeInfo
    frames: UInt8[np.ndarray, "t h w 3"]
    depth: UInt8[np.ndarray, "t h w 3"] | None
    """Depth in colours."""
    actions: Float32[np.ndarray, "t a"]


def choose_episodes(
    dataset: LeRobotDataset, *, count: int, without: Collection[int] = ()
) -> list[int]:
    """Episodes that differ: one of every behaviour and outcome in turn, then the next of each."""
    groups: dict[tuple[str, bool | None], list[int]] = {}
    for number in range(dataset.num_episodes):
        if number in without:
            continue
        info = dataset.episode_info(number)
        groups.setdefault((info.behaviour, info.success), []).append(number)
    ordered = [groups[key] for key in sorted(groups, key=str)]
    longest = max((len(group) for group in ordered), default=0)
    in_turn = [group[place] for place in range(longest) for group in ordered if place < len(group)]
    return sorted(in_turn[:count])


def show_episodes(
    dataset: LeRobotDataset, episodes: list[int], *, camera: str, annotations: Path
) -> tuple[list[Shown], tuple[float, float] | None]:
    """Read, enlarge and colour episodes; also the depths in metres that the colours span."""
    has_depth = any(one.name == camera and one.has_depth for one in dataset.spec.cameras)
    depths_m = {n: dataset.depth_m(n, camera) for n in episodes} if has_depth else {}
    limits = None
    if depths_m:
        limits = pictures.depth_limits(np.concatenate(list(depths_m.values()))[::5])
    shown = []
    for number in episodes:
        frames = dataset.frames(number, camera)
        tracks = find_tracks(annotations, camera=camera, episode=number)
        depth = None
        if limits is not None:
            coloured = pictures.depth_colours(depths_m[number], near_m=limits[0], far_m=limits[1])
            depth = pictures.enlarge(coloured, height=TILE_HEIGHT)
        shown.append(
            Shown(
                info=dataset.episode_info(number),
                frames=_with_tracks(frames, tracks),
                depth=depth,
                actions=dataset.actions(number),
            )
        )
    return shown, limits


def find_tracks(annotations: Path, *, camera: str, episode: int) -> Tracks | None:
    """Tracks by any annotator, if there are some."""
    for one in annotators(annotations):
        done = annotated_episodes(annotations, kind="tracks", annotator=one.name, camera=camera)
        if one.kind == "tracks" and episode in done:
            return read_tracks(annotations, annotator=one.name, camera=camera, episode=episode)
    return None


def write_sheet(
    path: Path,
    episodes: list[Shown],
    *,
    title: str,
    columns: int,
    fps: float,
    depth_limits_m: tuple[float, float] | None,
) -> None:
    """Write the contact sheet as PNG: two rows an episode (colour, depth), time to the right."""
    bands = [_band(episode, columns=columns, fps=fps) for episode in episodes]
    body = np.concatenate(bands)
    header = _blank(HEADER_HEIGHT + 8, body.shape[1])
    pictures.write_text(header, [(title, pictures.TEXT)], left=GAP + 4, top=10, size_px=15)
    footer = _blank(HEADER_HEIGHT, body.shape[1])
    if depth_limits_m is not None:
        _draw_scale(footer, depth_limits_m)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate([header, body, footer])).save(temporary, format="PNG")


def write_moving_sheet(path: Path, episodes: list[Shown], *, fps: float) -> None:
    """Write the episodes side by side as a video: colour, depth, and the action as bars."""
    largest = np.max([np.abs(episode.actions).max(axis=0) for episode in episodes], axis=0)
    length = max(episode.info.length for episode in episodes)
    columns = [_moving_column(episode, 0, largest=largest) for episode in episodes]
    height, width, _ = np.concatenate(columns, axis=1).shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path) as temporary,
        VideoWriter(
            temporary, fps=fps, height=height + height % 2, width=width + width % 2
        ) as writer,
    ):
        for start in range(0, length, KEY_FRAME_EVERY):
            pieces = [
                [_moving_column(episode, frame, largest=largest) for episode in episodes]
                for frame in range(start, min(length, start + KEY_FRAME_EVERY))
            ]
            images = np.stack([np.concatenate(columns, axis=1) for columns in pieces])
            padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
            writer.write(np.pad(images, padding, mode="edge"))


def _with_tracks(
    frames: UInt8[np.ndarray, "t h w 3"], tracks: Tracks | None
) -> UInt8[np.ndarray, "t H W 3"]:
    """Enlarge frames, and draw the most telling tracks into them."""
    enlarged = pictures.enlarge(frames, height=TILE_HEIGHT)
    if tracks is not None:
        active = pictures.spread_active(tracks, count=TRACKS_SHOWN)
        scale = TILE_HEIGHT / frames.shape[1]
        for number, image in enumerate(enlarged):
            pictures.draw_tracks(image, tracks, frame=number, scale=scale, shown=active)
    return enlarged


def _blank(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    return np.full((height, width, 3), pictures.BACKGROUND, np.uint8)


def _band(episode: Shown, *, columns: int, fps: float) -> UInt8[np.ndarray, "h w 3"]:
    """One episode of the sheet: a label, then its colours over its depth, at even times."""
    times = np.linspace(0, episode.info.length - 1, columns).round().astype(int)
    rows = [episode.frames] if episode.depth is None else [episode.frames, episode.depth]
    tile_width = episode.frames.shape[2]
    band = _blank(
        len(rows) * (TILE_HEIGHT + GAP // 2) + 26, LABEL_WIDTH + columns * (tile_width + GAP) + GAP
    )
    for column, time in enumerate(times):
        left = LABEL_WIDTH + column * (tile_width + GAP)
        text = [(f"{time / fps:.1f} s", pictures.FAINT_TEXT)]
        pictures.write_text(band, text, left=left, top=1, size_px=12)
        for row, images in enumerate(rows):
            top = 20 + row * (TILE_HEIGHT + GAP // 2)
            band[top : top + TILE_HEIGHT, left : left + tile_width] = images[time]
    pictures.write_text(band, _label(episode.info), left=GAP + 4, top=22)
    return band


def _label(info: EpisodeInfo) -> list[tuple[str, tuple[int, int, int]]]:
    outcome = {
        True: ("success", pictures.GOOD),
        False: ("failure", pictures.BAD),
        None: ("outcome unknown", pictures.FAINT_TEXT),
    }[info.success]
    return [
        (f"episode {info.index}", pictures.TEXT),
        (info.behaviour or "no behaviour noted", pictures.TEXT),
        outcome,
        (info.task[:24], pictures.FAINT_TEXT),
        (f"seed {info.seed}", pictures.FAINT_TEXT),
        (f"{info.length} frames", pictures.FAINT_TEXT),
    ]


def _draw_scale(footer: UInt8[np.ndarray, "h w 3"], limits_m: tuple[float, float]) -> None:
    """Draw the scale of the depth colours, in metres."""
    near_m, far_m = limits_m
    width, left, top = 360, LABEL_WIDTH, 8
    ramp_m = np.geomspace(near_m, far_m, width, dtype=np.float32)[None, None]
    ramp = pictures.depth_colours(ramp_m, near_m=near_m, far_m=far_m)[0]
    footer[top : top + 14, left : left + width] = ramp
    pictures.write_text(
        footer, [(f"depth {near_m:.2f} m", pictures.FAINT_TEXT)], left=GAP + 4, top=top
    )
    text = [(f"{far_m:.2f} m", pictures.FAINT_TEXT)]
    pictures.write_text(footer, text, left=left + width + 8, top=top)


def _moving_column(
    episode: Shown, frame: int, *, largest: Float[np.ndarray, " a"]
) -> UInt8[np.ndarray, "h w 3"]:
    """One episode at one moment of the video; past its end it stands still."""
    time = min(frame, episode.info.length - 1)
    images = [episode.frames[time]] + ([] if episode.depth is None else [episode.depth[time]])
    width = images[0].shape[1]
    label = _blank(46, width)
    lines = _label(episode.info)
    pictures.write_text(label, [lines[0]], left=4, top=4)
    pictures.write_text(label, [("", pictures.TEXT), lines[1]], left=4, top=4)
    pictures.write_text(label, [("", pictures.TEXT), lines[2]], left=width - 62, top=4)
    bars = _action_bars(episode.actions[time], largest=largest, width=width)
    progress = _blank(4, width)
    progress[1:3, : round(width * (time + 1) / episode.info.length)] = pictures.FAINT_TEXT
    column = np.concatenate([label, *images, bars, progress])
    return np.pad(column, ((0, 0), (0, GAP), (0, 0)), constant_values=pictures.BACKGROUND[0])


def _action_bars(
    action: Float32[np.ndarray, " a"], *, largest: Float[np.ndarray, " a"], width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """One bar a dimension, up for positive and down for negative, full at the largest seen."""
    bars = _blank(44, width)
    middle, reach = 22, 18
    cv2.line(bars, (0, middle), (width, middle), (48, 51, 60), 1)
    pitch = width / len(action)
    shares = action / np.maximum(largest, 1e-9)
    for number, share in enumerate(shares):
        left, right = round((number + 0.2) * pitch), round((number + 0.8) * pitch)
        end = middle - round(float(share) * reach)
        colour = (96, 165, 250) if share >= 0 else (251, 146, 60)
        cv2.rectangle(bars, (left, middle), (right, end), colour, -1)
    return bars
