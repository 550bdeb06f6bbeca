"""Samples of WorldArena 2's `POST /v1/predict`, read and checked; see `play/predictions.py`.

Axes: t predicted frame, n number.
"""

import base64
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from roboscape.core.errors import UserError
from roboscape.play.messages import LARGEST, shortened
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart

MOST_SAMPLES, MOST_FRAMES, MOST_CHARACTERS = 8, 64, 500
KINDS = {str: "a text", list: "an array", dict: "an object", int: "a whole number"}
RGB, DEPTH = ("RGB", 3, b"\x08\x02"), ("DEPTH_MM", 1, b"\x10\x00")
"""Colour space, channels, and the bits a channel and colour type in a PNG's header."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One world to imagine."""

    sample_id: str
    seed: int
    start: FrameStart
    actions: Float[np.ndarray, "t stride n"]


def part(content: Any, name: str, kind: type, *, where: str = "") -> Any:
    """A field of a JSON object that is of exactly this type: `true` is not a number."""
    found = content.get(name) if isinstance(content, dict) else None
    is_whole = kind is not str or found == shortened(str(found), most=MOST_CHARACTERS)
    if type(found) is not kind or not is_whole:
        raise UserError(f"expected {where}{name} to be {KINDS[kind]}, got {shortened(repr(found))}")
    return found


def read_table(value: Any, *, rows: range, columns: int, where: str) -> Float[np.ndarray, "t n"]:
    """An array of rows of finite numbers."""
    is_table = isinstance(value, list) and all(
        isinstance(row, list)
        and len(row) == columns
        and all(type(x) in (int, float) and abs(x) <= LARGEST for x in row)
        for row in value
    )
    if not is_table or len(value) not in rows:
        raise UserError(
            f"expected {where} to be {rows.start} to {rows.stop - 1} rows of {columns} finite "
            f"numbers, got {shortened(repr(value))}"
        )
    return np.array(value, np.float32)


def read_png(
    content: Any, kind: tuple[str, int, bytes], *, size: tuple[int, int], where: str
) -> np.ndarray:
    """The pixels of an image object; the header is compared before anything is decompressed."""
    (height, width), (space, channels, header) = size, kind
    wanted = {"encoding": "png_base64", "color_space": space, "channels": channels}
    wanted |= {"height": height, "width": width}
    found = {name: content.get(name) for name in wanted} if isinstance(content, dict) else content
    if found != wanted:
        raise UserError(f"expected {where} with {wanted}, got {shortened(repr(found))}")
    begin = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4) + header
    try:
        data = base64.b64decode(str(content.get("data")), validate=True)
        if not data.startswith(begin):
            raise ValueError("another header")
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise ValueError("it is animated")
            return np.array(image)
    except (ValueError, OSError, SyntaxError, EOFError) as error:
        raise UserError(
            f"expected {where}.data to be a still PNG in base64, {width} x {height}, {channels} "
            f"channels of {header[0]} bits without palette or alpha: {shortened(str(error))}"
        ) from error


class RequestReader:
    """Reads samples for a learned simulator of one world."""

    def __init__(self, simulator: LearnedSimulator) -> None:
        self.spec, statistics = simulator.spec, simulator.bundle.controls.statistics
        self.state_size, self.reads_task = statistics.state_size, statistics.task_size > 0
        self.action_size = self.spec.stride * len(self.spec.action.names)
        self.cameras = [camera.name for camera in self.spec.cameras]
        side = self.spec.cameras[0].width
        self.size, self.has_depth = (side * len(self.cameras), side), self.spec.cameras[0].has_depth

    def profile(self) -> dict[str, Any]:
        """The requests that may be made, as `/v1/capabilities` says it."""
        image = {"encoding": "png_base64", "color_space": "RGB", "channels": 3}
        return {
            "image": {**image, "height": self.size[0], "width": self.size[1]},
            "context_frames": {"min": 1, "max": 1},
            "prediction_frames": {"min": 1, "max": MOST_FRAMES},
            "action": {
                "dtype": "float32",
                "dimension": self.action_size,
                "representation": "profile_canonical",
            },
            "state": {"supported": self.state_size > 0, "dimension": self.state_size or None},
            "instruction": {"supported": self.reads_task},
            "roboscape": {
                "cameras": self.cameras,
                "depth_required": self.has_depth,
                "actions_a_frame": self.spec.stride,
                "action": asdict(self.spec.action),
            },
        }

    def samples(self, found: list[Any]) -> list[Sample]:
        """All samples of a request; one that is wrong refuses them all."""
        if not 1 <= len(found) <= MOST_SAMPLES:
            raise UserError(f"expected 1 to {MOST_SAMPLES} samples, got {len(found)}")
        samples = [self._sample(one, f"samples[{number}].") for number, one in enumerate(found)]
        if len({one.sample_id for one in samples}) < len(samples):
            raise UserError("expected every samples[].sample_id once")
        return samples

    def _sample(self, content: Any, where: str) -> Sample:
        seed = part(content, "seed", int, where=where)
        if not 0 <= seed < 2**63:
            raise UserError(f"expected {where}seed from 0 to 2^63 - 1")
        name, rows = f"{where}actions", range(1, MOST_FRAMES + 1)
        actions = read_table(
            content.get("actions"), rows=rows, columns=self.action_size, where=name
        )
        return Sample(
            sample_id=part(content, "sample_id", str, where=where),
            seed=seed,
            start=self._start(part(content, "context", dict, where=where), f"{where}context."),
            actions=actions.reshape(len(actions), self.spec.stride, -1),
        )

    def _start(self, context: dict[str, Any], where: str) -> FrameStart:
        """The given frame, in which the arm rests."""
        frames = part(context, "frames", list, where=where)
        if len(frames) != 1 or part(context, "actions", list, where=where):
            raise UserError(f"expected one image in {where}frames and no {where}actions")
        states, task = context.get("states"), context.get("instruction")
        for name, given, taken in (
            ("states", states, self.state_size > 0),
            ("instruction", task, self.reads_task),
            ("depths", context.get("depths"), self.has_depth),
        ):
            if given is not None and not taken:
                raise UserError(f"expected no {where}{name}: this model does not read it")
        state, name = np.zeros(0, np.float32), f"{where}states"
        if self.state_size:
            state = read_table(states, rows=range(1, 2), columns=self.state_size, where=name)[0]
        rgb = read_png(frames[0], RGB, size=self.size, where=f"{where}frames[0]")
        return FrameStart(
            rgb=self._by_camera(rgb),
            depth_m=self._by_camera(self._depth_m(context, where)) if self.has_depth else {},
            state=state,
            task="" if task is None else part(context, "instruction", str, where=where),
        )

    def _depth_m(self, context: dict[str, Any], where: str) -> Float[np.ndarray, "h w"]:
        depths = context.get("depths")
        if not isinstance(depths, list) or len(depths) != 1:
            raise UserError(
                f"this model imagines depth and needs that of the given frame, which the protocol "
                f"does not have: send {where}depths with one image object of color_space DEPTH_MM, "
                "channels 1: a PNG of 16 bits, millimetres along the optical axis"
            )
        depth_mm = read_png(depths[0], DEPTH, size=self.size, where=f"{where}depths[0]")
        if not depth_mm.all():
            raise UserError(f"expected more than 0 mm everywhere in {where}depths[0]; fill holes")
        return depth_mm.astype(np.float32) / 1000

    def _by_camera(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every camera's part; one below the other, as the model has them."""
        return dict(zip(self.cameras, np.split(image, len(self.cameras)), strict=True))
