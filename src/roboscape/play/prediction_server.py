"""A server of predictions by WorldArena 2's protocol.

Source: "Track 2: Candidate World Model Service API" 1.0, in the file
`assets/track2_world_model_service_api_en.md` of github.com/WorldArena2/WorldArena-2.0 (commit
f6d046f, July 2026). `GET /v1/health`, `GET /v1/capabilities`, `POST /v1/predict`:

- JSON without sessions. A sample is an image, perhaps a robot state and an instruction, actions and
  a seed; it is answered by a PNG in base64 for each action. Equal seeds give equal pixels, other
  samples change nothing, and frames carry neither watermark nor metadata.
- An error is `{"error": {code, message, request_id, retryable}}`, with the codes of `STATUS`. A
  `request_id` that comes again with another payload is refused.
- A Bearer token for everything but health.

`RL_env_benchmark/` of that repository speaks another protocol (`/reset` and `/chunk_step` with
pickles, `rlinf/envs/world_model/wan_http_server.py`), which is not offered here. What the protocol
lacks for this project's models is in `docs/policy-servers.md`.
"""

import asyncio
import base64
import hashlib
import json
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roboscape.core.errors import UserError
from roboscape.play.messages import shortened
from roboscape.play.prediction_request import MOST_SAMPLES, RequestReader, Sample, part
from roboscape.play.server import Doors
from roboscape.simulators.learned import LearnedSimulator

API_VERSION = "1.0"
STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "REQUEST_ID_CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_VERSION": 422,
    "OVERLOADED": 429,
    "INTERNAL": 500,
}
RETRYABLE = ("OVERLOADED", "INTERNAL")
MOST_BYTES, MOST_AT_ONCE, TIMEOUT_MS = 32 * 2**20, 2, 600_000
"""Of a request; requests that are answered at a time; and the time that the largest may take."""
REMEMBERED = 4096
"""Request ids whose payloads are remembered, the latest ones."""


class RefusedError(UserError):
    """A request that is refused for another reason than a wrong argument."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PredictionService:
    """Answers requests with imagined frames, one sample after the other."""

    def __init__(self, simulator: LearnedSimulator, *, version: str, profile_id: str) -> None:
        """Prepare; nothing is opened yet.

        Args:
            simulator: of one world.
            version: of the model; another one wherever other pixels may come.
            profile_id: name under which its inputs and outputs are offered.
        """
        names = {"api_version": API_VERSION, "model_version": version}
        self._names, self._profile_id = names, profile_id
        self._simulator, self._reader = simulator, RequestReader(simulator)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._open = 0
        self._payloads: OrderedDict[str, str] = OrderedDict()

    def app(self, doors: Doors) -> Starlette:
        """The application; `doors` says who may ask for more than its health."""

        def behind_doors(answer: Callable[[Request], Awaitable[JSONResponse]]) -> Any:
            async def endpoint(request: Request) -> JSONResponse:
                admit(request, doors)
                return await answer(request)

            return endpoint

        return Starlette(
            routes=[
                Route("/v1/health", self.health),
                Route("/v1/capabilities", behind_doors(self.capabilities)),
                Route("/v1/predict", behind_doors(self.predict), methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys((UserError, HTTPException, Exception), refuse),
        )

    async def health(self, _: Request) -> JSONResponse:
        """Whether predictions can be had."""
        return JSONResponse({"status": "ready", **self._names})

    async def capabilities(self, _: Request) -> JSONResponse:
        """The requests that may be made."""
        limits = {
            "max_batch_size": MOST_SAMPLES,
            "max_request_bytes": MOST_BYTES,
            "max_concurrency": MOST_AT_ONCE,
            "recommended_timeout_ms": TIMEOUT_MS,
        }
        profiles = [{"profile_id": self._profile_id, **self._reader.profile()}]
        sure = {"seed_supported": True, "same_seed_same_pixels": True}
        return JSONResponse(
            {**self._names, "profiles": profiles, "limits": limits, "determinism": sure}
        )

    async def predict(self, request: Request) -> JSONResponse:
        """The frames of a request's samples."""
        content = await received(request)
        identity = request.state.request_id = identity_of(content)
        for name, value in {**self._names, "profile_id": self._profile_id}.items():
            if (found := part(content, name, str)) != value:
                raise RefusedError(
                    f"expected {name} {value!r}, got {found!r}", code="UNSUPPORTED_VERSION"
                )
        samples = self._reader.samples(part(content, "samples", list))
        self._remember(identity, content)
        if self._open >= MOST_AT_ONCE:
            raise RefusedError(f"{self._open} requests are being answered; wait", code="OVERLOADED")
        self._open += 1
        try:
            predictions = [await self._prediction(request, sample) for sample in samples]
        finally:
            self._open -= 1
        return JSONResponse({**self._names, "request_id": identity, "predictions": predictions})

    def _remember(self, identity: str, content: dict[str, Any]) -> None:
        payload = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        if self._payloads.setdefault(identity, payload) != payload:
            raise RefusedError("this request_id had another payload", code="REQUEST_ID_CONFLICT")
        if len(self._payloads) > REMEMBERED:
            self._payloads.popitem(last=False)

    async def _prediction(self, request: Request, sample: Sample) -> dict[str, Any]:
        frames: list[dict[str, Any]] = []
        if not await request.is_disconnected():
            loop = asyncio.get_running_loop()
            frames = await loop.run_in_executor(self._worker, self.imagine, sample)
        return {"sample_id": sample.sample_id, "frames": frames}

    def imagine(self, sample: Sample) -> list[dict[str, Any]]:
        """A sample's frames as image objects; nothing of another sample reaches them."""
        self._simulator.reset([sample.start])
        self._simulator.reseed(sample.seed)
        seen = [self._simulator.step(actions[None]).rgb.values() for actions in sample.actions]
        return [image_object(np.concatenate([view[0] for view in views])) for views in seen]


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that ends in an error; a bug's text stays in the log."""
    code, text = "INTERNAL", "this could not be done; the log says why"
    if isinstance(error, UserError):
        code, text = getattr(error, "code", "INVALID_ARGUMENT"), shortened(str(error), most=1000)
    status = STATUS[code]
    if isinstance(error, HTTPException):
        code, text, status = "INVALID_ARGUMENT", error.detail, error.status_code
    content = {"code": code, "message": text, "retryable": code in RETRYABLE}
    content["request_id"] = getattr(request.state, "request_id", None)
    headers = {"retry-after": "1"} if code == "OVERLOADED" else None
    return JSONResponse({"error": content}, status, headers)


def admit(request: Request, doors: Doors) -> None:
    """Refuse clients without the token, and web pages of elsewhere."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    brought = token if scheme.lower() == "bearer" else None
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if not doors.admits(host=host, origin=origin, token=brought):
        code = "PERMISSION_DENIED" if origin or doors.token is None else "UNAUTHENTICATED"
        raise RefusedError("expected `Authorization: Bearer TOKEN`, and no web page", code=code)


async def received(request: Request) -> dict[str, Any]:
    """The JSON object of a request that is not too large; NaN is no JSON."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise UserError("expected the header `Content-Type: application/json`")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise RefusedError(f"expected at most {MOST_BYTES} bytes", code="PAYLOAD_TOO_LARGE")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the request is not JSON: {shortened(str(error))}") from error
    if not isinstance(content, dict):
        raise UserError(f"expected a JSON object, got {type(content).__name__}")
    return content


def identity_of(content: dict[str, Any]) -> str:
    """The `request_id` of a request, a UUID."""
    identity = part(content, "request_id", str)
    try:
        uuid.UUID(identity)
    except ValueError as error:
        raise UserError(f"expected request_id to be a UUID, got {identity!r}") from error
    return identity


def image_object(rgb: np.ndarray) -> dict[str, Any]:
    """An RGB image as the protocol writes it: a PNG without metadata."""
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return {
        "encoding": "png_base64",
        "color_space": "RGB",
        "height": rgb.shape[0],
        "width": rgb.shape[1],
        "channels": 3,
        "data": base64.b64encode(buffer.getvalue()).decode(),
    }
