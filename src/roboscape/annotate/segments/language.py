"""Action semantics by a vision-language model: the question, and what its answer must look like."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from roboscape.annotate.segments.protocol import RecordedMotion, Segment
from roboscape.core.errors import UserError

PROMPT_VERSION = "1"
QUESTION = """\
The {count} images above are frames 1 to {count} of one video of a robot, {seconds:.1f} seconds \
apart. The robot's task: {task}.
Divide the video into consecutive segments, each holding exactly one action. Answer with a JSON \
list and nothing else, one object a segment, in order and without gaps:
[{{"first": 1, "last": 4, "skill": "reach for the cup", "key": 3, "related": [2, 4], \
"confidence": 0.8}}]
first, last: numbers of the segment's first and last frame. skill: the action, a verb and its \
object. key: the one frame that shows the action best. related: first and last frame with an \
explicit relation to the key frame; leave out frames in which the robot only waits. \
confidence: 0 to 1."""

Ask = Callable[[UInt8[np.ndarray, "n h w 3"], str], str]
"""Shows images to a model, asks a question and returns the answer."""


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """The vision-language model, and how many frames it gets."""

    model: str = ""
    """The server's name of the model; for `internvl` a folder in place of the pinned weights."""
    base_url: str = "http://localhost:8000/v1"
    """An OpenAI-compatible server, e.g. `vllm serve OpenGVLab/InternVL3-8B`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key; none is sent where it is not set."""
    frames: int = 16
    """Frames of an episode that the model sees, evenly spread."""
    answers: int = 2
    """How many answers are asked for until one can be read."""
    answer_tokens: int = 1024
    """Longest answer."""
    timeout_s: float = 120.0
    """Time that the server has for an answer."""
    device: str = "auto"
    """Where `internvl` runs: `cuda`, `cpu`, or `auto`."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result; neither where the server is nor how long it may take."""
        return {
            "model": self.model,
            "frames": self.frames,
            "answers": self.answers,
            "answer_tokens": self.answer_tokens,
            "prompt_version": PROMPT_VERSION,
        }


def segment_by_language(
    ask: Ask,
    frames: UInt8[np.ndarray, "t h w 3"],
    *,
    motion: RecordedMotion,
    language: LanguageModel,
) -> tuple[Segment, ...]:
    """Let a model look at an episode and slice it.

    Raises:
        ValueError: no answer could be read; the message holds the last one.
    """
    rows = sampled_rows(len(frames), count=language.frames)
    spacing_s = float(np.diff(rows).mean()) / motion.fps if len(rows) > 1 else 0.0
    question = QUESTION.format(count=len(rows), seconds=spacing_s, task=motion.task or "not known")
    complaint = ""
    for _ in range(language.answers):
        answer = ask(frames[rows], question + complaint)
        try:
            return parse_answer(answer, rows=rows, length=len(frames))
        except ValueError as error:
            complaint = f"\nYour last answer could not be used: {error}. Answer with JSON alone."
    raise UserError(
        f"none of {language.answers} answers was a list of segments{complaint}; try a larger model"
    )


def sampled_rows(length: int, *, count: int) -> Int[np.ndarray, " n"]:
    """Rows that the model sees: evenly spread, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))


def parse_answer(answer: str, *, rows: Int[np.ndarray, " n"], length: int) -> tuple[Segment, ...]:
    """Segments of an episode from an answer about some of its rows.

    A border lies midway between the last frame of a segment and the first of the next.

    Raises:
        ValueError: what is wrong with the answer.
    """
    found = re.search(r"\[.*\]", answer, re.DOTALL)
    if not found:
        raise UserError(f"expected a JSON list, got {answer[:200]!r}")
    try:
        entries = [_entry(one) for one in json.loads(found[0])]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"expected a JSON list of segments ({error}), got {answer[:200]!r}") from (
            error
        )
    lasts = [one["last"] for one in entries]
    if [one["first"] for one in entries] != [1, *(last + 1 for last in lasts[:-1])] or (
        lasts[-1:] != [len(rows)]
    ):
        raise UserError(f"segments must cover frames 1 to {len(rows)} without gaps")
    borders = [0, *(int(rows[last - 1] + rows[last] + 1) // 2 for last in lasts[:-1]), length]
    return tuple(
        _segment(one, rows=rows, first=first, end=end)
        for one, first, end in zip(entries, borders[:-1], borders[1:], strict=True)
    )


def _entry(one: dict[str, Any]) -> dict[str, Any]:
    """One segment of the answer, its types made sure of."""
    first, last, key = (int(one[name]) for name in ("first", "last", "key"))
    related = [int(number) for number in one.get("related", (first, last))]
    if not first <= key <= last or len(related) != 2:
        raise UserError(f"key must lie in its segment, related must be two frames: {one}")
    return {
        "first": first,
        "last": last,
        "key": key,
        "related": (max(first, min(*related, key)), min(last, max(*related, key))),
        "skill": str(one["skill"]).strip().lower(),
        "confidence": min(1.0, max(0.0, float(one.get("confidence", 0.5)))),
    }


def _segment(one: dict[str, Any], *, rows: Int[np.ndarray, " n"], first: int, end: int) -> Segment:
    """From frames of the question to rows of the episode."""
    start, stop = one["related"]
    return Segment(
        first=first,
        end=end,
        skill=one["skill"],
        key_row=int(np.clip(rows[one["key"] - 1], first, end - 1)),
        relevant_first=first if start == one["first"] else int(rows[start - 1]),
        relevant_end=end if stop == one["last"] else int(rows[stop - 1]) + 1,
        confidence=one["confidence"],
    )
