"""The server of a blind evaluation: one page behind a secret link, its videos, its answers."""

import json
import re
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import compare_digest
from typing import Any

from roboscape.core.errors import UserError
from roboscape.human_evaluation.answers import AnswerFile, answer_of
from roboscape.human_evaluation.trials import VIDEOS, Trials

PAGE_FILES = Path(__file__).parent / "page_files"
LARGEST_BODY = 4096
"""Bytes of an answer; a page sends about 300."""
TIMEOUT_S = 20
"""A client that says nothing for so long is hung up on."""
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class EvaluationServer(ThreadingHTTPServer):
    """Serves one evaluation below `/<token>/`; anything else is not found."""

    daemon_threads = True

    def __init__(
        self, folder: Path, trials: Trials, *, token: str, address: tuple[str, int]
    ) -> None:
        """Bind to an address; `serve_forever` answers."""
        super().__init__(address, Handler)
        self.folder, self.trials, self.token = folder, trials, token
        self.answers = AnswerFile(folder)
        self.ids = {trial.id for trial in trials.trials}
        self.videos = {
            name for trial in trials.trials for name in (trial.left_video, trial.right_video)
        }

    def questions(self, rater: str) -> dict[str, Any]:
        """The questions of a page: the task, and the trials left, in the rater's own order.

        Nothing here says which video is of which source.
        """
        done = {one.trial for one in self.answers.read() if one.rater == rater}
        left = [trial for trial in self.trials.trials if trial.id not in done]
        left.sort(key=lambda trial: sha256(f"{rater}{trial.id}".encode()).digest())
        return {
            "task": self.trials.task,
            "done": len(done),
            "trials": [
                {"id": one.id, "left": one.left_video, "right": one.right_video} for one in left
            ],
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = TIMEOUT_S
    protocol_version = "HTTP/1.1"

    @property
    def evaluation(self) -> EvaluationServer:
        """The server that got the request."""
        assert isinstance(self.server, EvaluationServer)
        return self.server

    def do_GET(self) -> None:
        """The page, its questions, a video."""
        place = self.place()
        if place is None:
            self.refuse(HTTPStatus.NOT_FOUND)
        elif place in ("", "judge.js", "judge.css"):
            name = place or "index.html"
            kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
            self.send(
                (PAGE_FILES / name).read_bytes(), kinds[Path(name).suffix] + "; charset=utf-8"
            )
        elif found := re.fullmatch(r"questions/([0-9a-zA-Z]{8,64})", place):
            self.send(json.dumps(self.evaluation.questions(found[1])).encode(), "application/json")
        elif place.removeprefix("videos/") in self.evaluation.videos:
            self.send_video(self.evaluation.folder / VIDEOS / place.removeprefix("videos/"))
        else:
            self.refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """An answer."""
        if self.place() != "answers":
            self.refuse(HTTPStatus.NOT_FOUND)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            content = json.loads(self.rfile.read(int(length)))
            answer = answer_of(content, trials=self.evaluation.ids)
        except (UserError, ValueError, RecursionError) as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error)[:500])
            return
        self.evaluation.answers.add(answer)
        self.send(b"{}", "application/json")

    def place(self) -> str | None:
        """The path below the secret; None where the secret is not given."""
        _, secret, *rest = [*self.path.split("?")[0].split("/", 2), ""][:3]
        if not rest or not compare_digest(secret.encode(), self.evaluation.token.encode()):
            return None
        return rest[0]

    def send(self, body: bytes, kind: str) -> None:
        """A whole answer."""
        self.send_response(HTTPStatus.OK)
        self.finish_headers(body, kind)

    def send_video(self, path: Path) -> None:
        """A video, or the part of it that a browser asks for: some play nothing without parts."""
        body = path.read_bytes()
        asked = RANGE.match(self.headers.get("Range", ""))
        if not asked or not any(asked.groups()):
            self.send(body, "video/mp4")
            return
        first, last = asked.groups()
        start = int(first) if first else max(0, len(body) - int(last))
        end = min(len(body) - 1, int(last)) if first and last else len(body) - 1
        if start > end:
            self.refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
        self.finish_headers(body[start : end + 1], "video/mp4")

    def finish_headers(self, body: bytes, kind: str) -> None:
        """The headers that all answers have, then the body."""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        policy = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: HTTPStatus, reason: str = "") -> None:
        """An error, and the end of the connection: a body may be left unread."""
        self.close_connection = True
        body = json.dumps({"error": reason or status.phrase}).encode()
        self.send_response(status)
        self.send_header("Connection", "close")
        self.finish_headers(body, "application/json")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a request would hold the secret."""
