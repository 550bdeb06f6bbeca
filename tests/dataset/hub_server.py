"""A hub of datasets on this machine: folders of files, and a list of what was asked for."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
_API = re.compile(r"/api/datasets/([^/]+/[^/]+)/(revision|tree|paths-info)/([^/]+)/?(.*)")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub(ThreadingHTTPServer):
    """Serves `<folder>/<owner>/<name>` the way huggingface.co does, as far as it is used here."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.revisions = {"main": COMMIT, "v2.1": COMMIT}
        self.sent: dict[str, int] = {}
        """Bytes of every file that went out."""
        self.status = 200
        """What it answers with, when it is not well."""
        self.hidden: set[str] = set()
        """Files that are listed, but cannot be had."""
        self.break_after: int | None = None
        """Break off a file after so many bytes, once."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    with Hub(folder) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := _API.fullmatch(path):
            self._about(*found.groups())
        elif found := _FILE.fullmatch(path):
            self._file(*found.groups())
        else:
            self._missing("EntryNotFound")

    def _root(self, repository: str, revision: str) -> Path | None:
        root = self.server.folder / repository
        if not root.is_dir():
            self._missing("RepoNotFound")
        elif self.server.status != 200:
            self._missing("", status=self.server.status)
        elif revision not in {*self.server.revisions, *self.server.revisions.values()}:
            self._missing("RevisionNotFound")
        else:
            return root
        return None

    def _about(self, repository: str, what: str, revision: str, inside: str) -> None:
        root = self._root(repository, revision)
        if root is None:
            return
        if what == "revision":
            self._json({"id": repository, "sha": COMMIT, "private": False, "tags": []})
        elif what == "tree":
            if not (root / inside).exists():
                self._missing("EntryNotFound")
                return
            self._json([_entry(root, path) for path in sorted((root / inside).rglob("*"))])
        else:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            paths = [unquote(part[6:]) for part in asked.split("&") if part.startswith("paths=")]
            if not paths:
                paths = json.loads(asked)["paths"]
            there = [root / path for path in paths if (root / path).exists()]
            self._json([_entry(root, path) for path in there])

    def _file(self, repository: str, revision: str, inside: str) -> None:
        root = self._root(repository, revision)
        if root is None:
            return
        path = root / inside
        if not path.is_file() or inside in self.server.hidden:
            self._missing("EntryNotFound")
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, stop = 0, len(content)
        if asked:
            start, stop = int(asked[1]), int(asked[2] or stop - 1) + 1
        body = content[start:stop]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked:
            self.send_header(
                "Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(content)}"
            )
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_digest(path)}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.break_after is not None and len(body) > self.server.break_after:
            body, self.server.break_after = body[: self.server.break_after], None
            self.close_connection = True
        self.wfile.write(body)
        self.server.sent[inside] = self.server.sent.get(inside, 0) + len(body)

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _missing(self, code: str, *, status: int = 404) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entry(root: Path, path: Path) -> dict[str, object]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "oid": _digest(path), "size": path.stat().st_size}


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
