"""A vision-language model behind an OpenAI-compatible server: plain HTTP, no client library."""

import base64
import json
import logging
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from roboscape.annotate.segments.language import LanguageModel, segment_by_language
from roboscape.annotate.segments.protocol import RecordedMotion, Segment
from roboscape.core.errors import UserError

logger = logging.getLogger(__name__)

BUSY = (429, 500, 502, 503, 504)
"""Answers of a server that may do better a moment later."""
WAITS_S = (1.0, 4.0, 16.0)


@dataclass(frozen=True, kw_only=True)
class ServerSegmenter:
    """Slices an episode by a served model's answers (vLLM, SGLang, llama.cpp, a hosted one)."""

    language: LanguageModel = field(default_factory=LanguageModel)
    waits_s: tuple[float, ...] = WAITS_S
    """How long to wait before each further try at a busy server."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a model without a name before any work is done."""
        if not self.language.model:
            raise UserError(
                "a server may hold several models: name one with --language.model, e.g. "
                "OpenGVLab/InternVL3-8B"
            )

    @property
    def name(self) -> str:
        """Name of the annotation folder: `segments_server`."""
        return "server"

    @property
    def version(self) -> str:
        """The server's name of the model."""
        return self.language.model

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return self.language.settings

    def annotate(
        self, frames: UInt8[np.ndarray, "t h w 3"] | None, *, motion: RecordedMotion
    ) -> tuple[Segment, ...]:
        """Segments that cover the episode in order."""
        assert frames is not None
        return segment_by_language(self.ask, frames, motion=motion, language=self.language)

    def ask(self, images: UInt8[np.ndarray, "n h w 3"], question: str) -> str:
        """One question about some images.

        Raises:
            ValueError: the server cannot be reached, refuses, or answers in no known form.
        """
        content: list[dict[str, Any]] = []
        for number, image in enumerate(images, 1):
            content.append({"type": "text", "text": f"Frame {number}:"})
            content.append({"type": "image_url", "image_url": {"url": as_data_url(image)}})
        content.append({"type": "text", "text": question})
        reply = self._post(
            {
                "model": self.language.model,
                "messages": [{"role": "user", "content": content}],
                "temperature": 0,
                "max_tokens": self.language.answer_tokens,
            }
        )
        try:
            return str(reply["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{self.language.base_url} answered in no form of a chat completion: {reply}"
            ) from error

    def _post(self, body: dict[str, Any]) -> Any:
        """Send a request, again after a while where the server is busy."""
        url = self.language.base_url.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.language.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        for wait_s in (*self.waits_s, None):
            try:
                with urllib.request.urlopen(request, timeout=self.language.timeout_s) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")[:500]
                if error.code not in BUSY or wait_s is None:
                    raise UserError(f"{url} refused ({error.code}): {said}") from error
                logger.info("%s is busy (%d), again in %g s", url, error.code, wait_s)
                time.sleep(wait_s)
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                raise UserError(
                    f"no answer from {url} ({error}); start a server, e.g. `vllm serve "
                    f"{self.language.model}`, or say where it is with --language.base-url"
                ) from error
        raise AssertionError("unreachable: the last try returns or raises")


def as_data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """An image inside a request, as PNG."""
    worked, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert worked
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"
