"""LeRobot datasets on the Hugging Face hub, by name: what is read is fetched, once, and no more.

A name is `hf://owner/name`, with `@revision` and with a part of it, as in a web address:
`hf://lerobot/droid@v3.0?episodes=0:50&cameras=wrist,front`. Its files lie in a folder of the cache
that is laid out like the repository, so that everything which reads a dataset reads this one.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs, quote

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.dataset import layout

PIN_FILE = "hub.json"
"""The commit that a cached dataset was opened at; it stays there, whatever the hub does."""
DOWNLOADS = 8
"""Files fetched at once."""
_SCHEME = "hf://"
_NAME = re.compile(
    r"hf:/+(?:datasets/)?(?P<repository>[^/@?]+/[^/@?]+)(?:@(?P<revision>[^?]+))?(?:\?(?P<part>.*))?"
)
_EXPECTED = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME?episodes=0:50&cameras=A,B"
_FAILURES = (HTTPError, EntryNotFoundError, HFValidationError, OSError)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The opened episodes and cameras of a dataset; the episodes are numbered from 0 then."""

    start: int = 0
    stop: int | None = None
    """The first episode that is left out; None for all."""
    cameras: tuple[str, ...] = ()
    """All where empty."""

    def __post_init__(self) -> None:
        """Refuse a part that holds nothing."""
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise UserError(
                f"expected episodes as START:STOP with 0 <= START < STOP, got {self.start}:"
                f"{self.stop}"
            )

    def home(self, root: Path) -> Path:
        """The folder of the part's own files: not the whole dataset's where numbers differ."""
        if self.start == 0 and self.stop is None:
            return root
        stop = "" if self.stop is None else self.stop
        return root.resolve().with_name(f"{root.resolve().name}_episodes_{self.start}-{stop}")


WHOLE = Part()


@dataclass(frozen=True, kw_only=True)
class HubName:
    """A dataset on the hub, or a part of it."""

    repository: str
    """`owner/name`."""
    revision: str = "main"
    """A branch, a tag (LeRobot tags its format versions, e.g. `v2.1`) or a commit."""
    part: Part = WHOLE

    @property
    def folder(self) -> Path:
        """The folder of its files; the variable `HF_HOME` names the hub's own cache."""
        root = Path(constants.HF_HOME) / "roboscape" / "datasets"
        return root / f"{self.repository}@{quote(self.revision, safe='')}"

    def __str__(self) -> str:
        return f"{_SCHEME}{self.repository}@{self.revision}"


def hub_name(dataset: str | Path) -> HubName | None:
    """The dataset on the hub that a name means; None for a folder.

    Raises:
        ValueError: it begins like a name on the hub and is none.
    """
    # A `Path` keeps one of the two slashes.
    text = str(dataset)
    if not text.startswith("hf:/"):
        return None
    found = _NAME.fullmatch(text)
    if found is None:
        raise UserError(f"expected {_EXPECTED}, got {text}")
    return HubName(
        repository=found["repository"],
        revision=found["revision"] or "main",
        part=_part_of(found["part"] or "", text),
    )


def home_of(dataset: Path) -> Path:
    """The folder that what belongs to a dataset is kept in: its own, or one in the cache."""
    name = hub_name(dataset)
    return dataset if name is None else name.part.home(name.folder)


class HubFiles:
    """The files of a dataset on the hub. `meta` is there from the start, the rest when asked for.

    Interrupted, fetching goes on where it stopped. The commit of the first opening stays: no file
    comes from a later one, and what is here is read without a connection.

    Raises:
        ValueError: it cannot be fetched; with the cause, and what to try.
    """

    def __init__(self, name: HubName) -> None:
        self.name = name
        self.folder = name.folder
        self._api = HfApi(endpoint=constants.ENDPOINT)
        pin = self.folder / PIN_FILE
        if pin.exists():
            self.commit: str = read_json(pin)["commit"]
            return
        with self._explained():
            about = self._api.dataset_info(name.repository, revision=name.revision)
            self.commit = str(about.sha)
            tree = self._api.list_repo_tree(
                name.repository,
                "meta",
                recursive=True,
                revision=self.commit,
                repo_type="dataset",
            )
            metas = [self.folder / entry.path for entry in tree if isinstance(entry, RepoFile)]
        self.fetch(metas)
        write_json(pin, {"repository": name.repository, "commit": self.commit})

    def fetch(self, paths: Iterable[Path]) -> None:
        """Fetch the files that are not there yet, several at a time."""
        missing = [path for path in dict.fromkeys(paths) if not path.exists()]
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            list(pool.map(self._fetch, missing))

    def fetch_columns(self, path: Path, *, to: Path, columns: frozenset[str], keep: bool) -> None:
        """Copy some columns of a Parquet file; of the file, only their bytes are fetched.

        Args:
            path: where the whole file would be.
            to: where the columns go.
            columns: their names.
            keep: whether these are kept, or left out.
        """
        remote = f"datasets/{self.name.repository}@{self.commit}/{self._relative(path)}"
        with self._explained(), self._files.open(remote, "rb", cache_type="none") as file:
            table = pq.ParquetFile(file, pre_buffer=True)
            names = [name for name in table.schema_arrow.names if (name in columns) == keep]
            found: pa.Table = table.read(columns=names)
        with atomic_path(to) as temporary:
            pq.write_table(found, temporary)

    @cached_property
    def _files(self) -> HfFileSystem:
        return HfFileSystem(endpoint=self._api.endpoint)

    def _fetch(self, path: Path) -> None:
        with self._explained():
            self._api.hf_hub_download(
                self.name.repository,
                self._relative(path),
                repo_type="dataset",
                revision=self.commit,
                local_dir=self.folder,
            )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what a library says about a connection into what can be done about it."""
        try:
            yield
        except _FAILURES as error:
            raise UserError(
                f"{self.name} cannot be fetched: {_reason(error, self.name)} "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]})"
            ) from error


def fetched_columns(path: Path, *, root: Path, group: str) -> Path:
    """The path of a copy of some columns of a data file of the dataset at `root`."""
    return root / ".columns" / group / path.relative_to(root)


def _part_of(query: str, text: str) -> Part:
    """`episodes=0:50&cameras=A,B`; `episodes=50` are the first 50."""
    try:
        asked = parse_qs(query, strict_parsing=True) if query else {}
        (episodes,) = asked.pop("episodes", [":"])
        (cameras,) = asked.pop("cameras", [""])
        start, stop = episodes.split(":") if ":" in episodes else ("0", episodes)
        numbers = int(start or 0), int(stop) if stop else None
    except ValueError as error:
        raise UserError(f"expected {_EXPECTED}, got {text}") from error
    if asked:
        raise UserError(f"expected {_EXPECTED}, got {text} with {', '.join(asked)}")
    named = tuple(camera for camera in cameras.split(",") if camera)
    return Part(start=numbers[0], stop=numbers[1], cameras=named)


def _reason(error: BaseException, name: HubName) -> str:
    """The reason of a failure, and what to try."""
    if isinstance(error, GatedRepoError):
        return "it is gated; ask for access on its page, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such dataset, or it is private; check the name, or `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {name.revision!r}; its page lists its tags and branches"
    if isinstance(error, HFValidationError):
        return f"that is no name of a dataset; expected {_EXPECTED}"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, FileNotFoundError):
        return f"it lacks a file that a LeRobot dataset has; is there a {layout.INFO_PATH} in it?"
    if isinstance(error, HfHubHTTPError):
        return "the hub answered with an error; what was fetched is kept, try again later"
    return (
        f"no connection to {constants.ENDPOINT}, or fetching is switched off (HF_HUB_OFFLINE); "
        "what was fetched is kept, the same command goes on from there. Without a connection, pass "
        "the folder of a copy"
    )
