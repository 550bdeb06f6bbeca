"""Mutation test: plants one-line changes in a copy of the code and reports which the tests catch.

`tests/mutants/*.jsonl` holds the changes, one JSON object a line:

    {"file": "src/...", "original": "a fragment that the file holds exactly once",
     "mutant": "what replaces it", "tests": ["tests/...::test_..."], "law": "what it would break"}

Every change is applied alone, in a temporary copy of the tree; the checkout is never written to.
A change is caught where one of its tests fails or exceeds the time limit. The last line is
`N planted, N caught, N survive`; the exit status is 1 where any survives, 2 for a wrong list.
"""

import argparse
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = {"runs", "data", "build", "dist"}
PASSED, FAILED = 0, 1


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted change, and the tests that ought to fail under it."""

    file: str
    original: str
    mutant: str
    tests: tuple[str, ...]
    law: str

    def key(self, tree: str) -> str:
        """Identifies this change to a tree of this digest."""
        return hashlib.sha256(f"{tree}{json.dumps(asdict(self))}".encode()).hexdigest()[:20]


def read_mutants(folder: Path) -> Iterator[tuple[str, Mutant]]:
    """Every change with its place, `name.jsonl:line`."""
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if line.strip():
                place = f"{path.name}:{number}"
                try:
                    content = json.loads(line)
                    yield place, Mutant(**content | {"tests": tuple(content["tests"])})
                except (KeyError, TypeError, ValueError) as error:
                    stop(f"{place}: not a mutant: {error!r}")


def stop(message: str) -> None:
    """End with status 2: the list of mutants, or the code, is not ready to be tried."""
    sys.stderr.write(message + "\n")
    sys.exit(2)


def wrong_places(root: Path, mutants: list[tuple[str, Mutant]]) -> list[str]:
    """A line for each change whose original is not in its file exactly once."""
    lines = []
    for place, mutant in mutants:
        path = root / mutant.file
        found = path.read_text().count(mutant.original) if path.is_file() else 0
        if found != 1 or mutant.original == mutant.mutant:
            lines.append(
                f"{place}: {mutant.file} holds {mutant.original!r} {found} times, not once"
            )
    return lines


def copy_tree(root: Path, copy: Path) -> Path:
    """A copy of the checkout without its environments, data, runs and byte code."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == root
        return {
            name
            for name in names
            if name == "__pycache__" or (top and (name in NOT_COPIED or name.startswith(".")))
        }

    shutil.copytree(root, copy, ignore=left_out, symlinks=True)
    return copy


def digest_of(root: Path) -> str:
    """Changes with any file of `src` and `tests`."""
    digest = hashlib.sha256()
    for top in ("src", "tests"):
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".jsonl":
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def run_tests(copy: Path, tests: list[str], *, limit_s: float) -> tuple[int | None, str]:
    """Exit status of pytest in a copy (None: over the time limit), and its output."""
    # No byte code: a change of equal length within a second would leave the old one in use.
    environment = os.environ | {
        "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.setdefault("OMP_NUM_THREADS", "1")
    options = ["-x", "-q", "-rA", "--show-capture=no", "--tb=short", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=copy,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        output.seek(0)
        return status, output.read()


def check_unchanged(copy: Path, tests: list[str], *, limit_s: float) -> None:
    """Stop unless every named test passes, and is not skipped, in the unchanged tree."""
    status, output = run_tests(copy, tests, limit_s=limit_s)
    passed = re.findall(r"^PASSED (\S+)", output, re.MULTILINE)
    absent = [test for test in tests if not any(name.startswith(test) for name in passed)]
    if status != PASSED or absent:
        stop(f"{output[-4000:]}\nnot passed in the unchanged tree: {absent or tests}")


def caught(copy: Path, mutant: Mutant, *, limit_s: float) -> tuple[bool | None, str]:
    """Whether a test fails under a change (None: the tests could not run), and their output."""
    path = copy / mutant.file
    before = path.read_text()
    path.write_text(before.replace(mutant.original, mutant.mutant))
    try:
        status, output = run_tests(copy, list(mutant.tests), limit_s=limit_s)
    finally:
        path.write_text(before)
    if status not in (None, PASSED, FAILED):
        return None, output
    return status != PASSED, output


def earlier_results(path: Path) -> dict[str, bool]:
    """Results of earlier runs by key; empty where there is no file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return dict(json.loads(line) for line in lines)


def try_mutants(
    root: Path, mutants: list[tuple[str, Mutant]], *, jobs: int, limit_s: float
) -> Iterator[tuple[str, Mutant, bool, float]]:
    """Place, mutant, whether it was caught and the seconds that took, in the order of finishing."""
    with tempfile.TemporaryDirectory(prefix="mutants_") as temporary:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(min(jobs, len(mutants))):
            copies.put(copy_tree(root, Path(temporary) / f"copy_{number}"))
        tests = sorted({test for _, mutant in mutants for test in mutant.tests})
        check_unchanged(copies.queue[0], tests, limit_s=limit_s * len(tests))

        def attempt(mutant: Mutant) -> tuple[bool | None, str, float]:
            copy, start = copies.get(), time.monotonic()
            try:
                return *caught(copy, mutant, limit_s=limit_s), time.monotonic() - start
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(attempt, mutant): (place, mutant) for place, mutant in mutants}
            for future in as_completed(futures):
                place, mutant = futures[future]
                found, output, seconds = future.result()
                if found is None:
                    pool.shutdown(cancel_futures=True)
                    stop(f"{output[-4000:]}\n{place}: its tests cannot run under this change")
                yield place, mutant, bool(found), seconds


def main() -> None:
    """Try every change, print a line each, and count."""
    options = parse()
    root = options.root.resolve()
    mutants = [
        (place, mutant)
        for place, mutant in read_mutants(root / "tests" / "mutants")
        if options.only in f"{place} {mutant.file} {mutant.law}"
    ]
    if lines := wrong_places(root, mutants):
        stop("\n".join(lines))
    tree, record = digest_of(root), root / "runs" / "mutants.jsonl"
    known = {} if options.again else earlier_results(record)
    results = {place: known[m.key(tree)] for place, m in mutants if m.key(tree) in known}
    todo = [(place, mutant) for place, mutant in mutants if place not in results]
    print(f"{len(todo)} of {len(mutants)} to try; {len(results)} were tried in this tree before")
    record.parent.mkdir(exist_ok=True)
    found = try_mutants(root, todo, jobs=options.jobs, limit_s=options.limit_s) if todo else ()
    for place, mutant, was_caught, seconds in found:
        results[place] = was_caught
        print(
            f"{len(results):>3}/{len(mutants)} {'caught  ' if was_caught else 'SURVIVES'} {place}: "
            f"{mutant.law} ({mutant.file.removeprefix('src/roboscape/')}, {seconds:.0f} s)",
            flush=True,
        )
        with record.open("a") as file:
            file.write(json.dumps([mutant.key(tree), was_caught]) + "\n")
    survivors = [place for place in sorted(results) if not results[place]]
    print("\n".join(f"survives: {place}" for place in survivors), end="\n" if survivors else "")
    print(
        f"{len(results)} planted, {len(results) - len(survivors)} caught, {len(survivors)} survive"
    )
    sys.exit(1 if survivors else 0)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="part of a list's name, file or law")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tried at a time")
    parser.add_argument("--limit-s", type=float, default=300, help="seconds for a change's tests")
    parser.add_argument("--again", action="store_true", help="also what was tried in this tree")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    return parser.parse_args()


if __name__ == "__main__":
    main()
