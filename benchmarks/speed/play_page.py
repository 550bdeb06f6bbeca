"""How fast the static page is in headless Chromium: frames/s, first frame, bytes.

    python benchmarks/speed/play_page.py --folder docs/play

Needs chromium and the package playwright. The page runs on the processor (WebAssembly), one thread,
from a static file server on this machine; nothing else should run. Aims: at least 12 frames/s, a
first frame within 3 s, at most 15 MB to download.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))
from roboscape.export.page import page_bytes
from tests.export.browser import browser, open_page, served

STEPS = """async (count) => {
  const action = new Array(roboscape.ui.manifest.stride *
    roboscape.ui.manifest.action.names.length).fill(0.2);
  const begin = performance.now();
  const milliseconds = [];
  for (let i = 0; i < count; i++) milliseconds.push((await roboscape.step(action)).step_ms);
  return { seconds: (performance.now() - begin) / 1000, milliseconds };
}"""


def renderer_cpu_s() -> float:
    """CPU seconds of all of the browser's renderer processes below this one so far (Linux).

    A busy machine stretches wall time; this hardly moves.
    """
    below, total = {os.getpid()}, 0.0
    processes = sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    for pid in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            words = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) in below:
            below.add(pid)
            if "--type=renderer" in words:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(folder: Path, *, loads: int, frames: int, backend: str) -> dict[str, object]:
    """Figures of the page in a folder, medians over fresh loads."""
    first_ms, hz, step_ms, cpu_ms, used = [], [], [], [], ""
    with served(folder) as address, browser() as launched:
        for _ in range(loads):
            page = open_page(launched, address, backend=backend)
            first_ms.append(page.evaluate("roboscape.ui.firstFrameMs"))
            used = page.inner_text("#backend")
            page.evaluate(STEPS, 3)
            before_s = renderer_cpu_s()
            found = page.evaluate(STEPS, frames)
            cpu_ms.append(1000 * (renderer_cpu_s() - before_s) / frames)
            hz.append(frames / found["seconds"])
            step_ms += found["milliseconds"]
            page.context.close()
    total, download = page_bytes(folder)
    return {
        "backend": used,
        "frames_per_s": round(median(hz), 2),
        "best_frames_per_s": round(max(hz), 2),
        "step_ms_median": round(median(step_ms), 1),
        "step_ms_fastest": round(min(step_ms), 1),
        "cpu_ms_a_frame": round(median(cpu_ms), 1),
        "first_frame_s": round(median(first_ms) / 1000, 2),
        "folder_mb": round(total / 1e6, 2),
        "download_gzipped_mb": round(download / 1e6, 2),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("docs/play"))
    parser.add_argument("--loads", type=int, default=3, help="fresh loads of the page")
    parser.add_argument("--frames", type=int, default=40, help="frames after each load")
    parser.add_argument("--backend", default="wasm", help="wasm, webgpu or auto")
    options = parser.parse_args()
    found = measure(
        options.folder, loads=options.loads, frames=options.frames, backend=options.backend
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
