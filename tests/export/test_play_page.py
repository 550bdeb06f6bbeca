"""The static page, as people use it: in a browser, from a server of files."""

import gzip
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from roboscape.core.pretrained import BUNDLED, WEIGHTS
from roboscape.export.page import PAGE_FILES, RUNTIME, page_bytes
from roboscape.export.page_starts import DEPTH_UNIT_M
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from tests.export.browser import CHROMIUM, browser, open_page, served

PLAY = Path(__file__).parents[2] / "docs" / "play"
DECODER = BUNDLED / "lift-light-decoder"
"""Shows the page's frames."""
FRAMES = 18
"""More than the fourteen slots of the model's memory."""

in_browser = pytest.mark.skipif(
    not CHROMIUM.is_file() or find_spec("playwright") is None,
    reason=f"needs {CHROMIUM} and the package playwright",
)


@pytest.fixture(scope="module")
def content():
    return json.loads((PLAY / "page.json").read_text())


@pytest.fixture(scope="module")
def launched():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def address():
    with served(PLAY) as found:
        yield found


@pytest.fixture(scope="module")
def page(launched, address):
    """The page with the processor's backend; tests begin with a reset."""
    return open_page(launched, address)


def scripted(frames=FRAMES):
    """Actions that move the hand, stride by stride."""
    random = np.random.default_rng(3)
    held = random.uniform(-0.4, 0.4, (frames, 1, 7)).repeat(4, axis=1)
    held[..., 6] = 1.0
    return held.astype(np.float32)


def step_all(page, actions):
    """Codes and states after each frame of actions, from where the page is."""
    script = """async (actions) => {
      const frames = [];
      for (const frame of actions) {
        const found = await roboscape.step(frame);
        frames.push({ codes: [...found.codes], state: found.state, depth: [...found.depth_m] });
      }
      return frames;
    }"""
    return page.evaluate(script, [frame.flatten().tolist() for frame in actions])


@in_browser
def test_a_script_gives_the_tokens_that_torch_gives(page, content):
    start = content["starts"][1]
    pixels = content["height"] * content["width"]
    raw = (PLAY / start["file"]).read_bytes()
    shape = (content["height"], content["width"])
    depth_units = np.frombuffer(raw, "<u2", pixels, offset=3 * pixels).reshape(shape)
    bundle = Bundle.from_pretrained("lift").for_imagining(Compute(device="cpu", precision="fp32"))
    simulator = LearnedSimulator(bundle, decode="none")
    simulator.reset(
        [
            FrameStart(
                rgb={"agentview": np.frombuffer(raw, np.uint8, 3 * pixels).reshape(*shape, 3)},
                depth_m={"agentview": (depth_units * DEPTH_UNIT_M).astype(np.float32)},
                state=np.float32(start["arm"]["state"]),
            )
        ]
    )
    assert simulator.tokens.flatten().tolist() == start["codes"]
    page.evaluate("roboscape.reset(1)")
    equal = []
    for actions, found in zip(scripted(), step_all(page, scripted()), strict=True):
        state = simulator.step(actions[None]).state
        equal.append((simulator.tokens.flatten().numpy() == found["codes"]).mean())
        np.testing.assert_allclose(found["state"], state[0], atol=1e-5)
    assert equal == [1.0] * FRAMES


@in_browser
def test_going_back_and_the_same_actions_give_the_same_future(page):
    page.evaluate("roboscape.reset(0)")
    actions = scripted()
    first = step_all(page, actions)
    assert page.evaluate(f"roboscape.rewind({FRAMES - 3}).then((f) => f.position)") == FRAMES - 3
    again = step_all(page, actions[-3:])
    assert [frame["codes"] for frame in again] == [frame["codes"] for frame in first[-3:]]


@in_browser
def test_keys_drive_the_arm_to_the_side_of_the_picture_that_they_name(page):
    columns = {}
    for key in ("ArrowLeft", "ArrowRight"):
        page.evaluate("roboscape.reset(2)")
        page.evaluate("roboscape.play(false)")
        page.keyboard.down(key)
        page.wait_for_function("roboscape.ui.frame.position >= 6")
        page.keyboard.up(key)
        page.keyboard.press("KeyP")
        assert page.inner_text("#play") == "Go on"
        depth = np.array(page.evaluate("[...roboscape.ui.frame.depth_m]")).reshape(128, 128)
        _, near = np.nonzero(depth[:64] < 0.8)
        columns[key] = near.mean(), page.evaluate("roboscape.ui.frame.state[1]")
    left, right = columns["ArrowLeft"], columns["ArrowRight"]
    assert left[0] < right[0] - 3, columns
    assert left[1] < right[1] - 0.03, columns


@in_browser
def test_a_temperature_draws_other_tokens_and_a_seed_the_same_ones(page):
    def drawn(seed, temperature):
        page.evaluate(f"document.getElementById('temperature').value = {temperature}")
        page.evaluate(f"roboscape.reset(0, {seed})")
        return step_all(page, scripted(2))[-1]["codes"]

    greedy, warm, again, other = drawn(1, 0), drawn(1, 1), drawn(1, 1), drawn(2, 1)
    page.evaluate("document.getElementById('temperature').value = 0")
    assert warm == again
    assert 0 < np.mean(np.array(greedy) != warm) < 0.5
    assert warm != other


@in_browser
def test_a_hold_counts_for_the_share_of_the_time_between_frames(page):
    shares = page.evaluate(
        """async () => {
          const { Holds } = await import("./drivers.js");
          let now = 0;
          const holds = new Holds(() => now);
          const at = (time, call) => ((now = time), call());
          at(100, () => holds.press("half"));
          at(150, () => holds.press("tap"));
          at(152, () => holds.release("tap"));
          const first = Object.fromEntries(at(200, () => holds.take()));
          const second = Object.fromEntries(at(400, () => holds.take()));
          at(500, () => holds.release("half"));
          const third = Object.fromEntries(at(600, () => holds.take()));
          const fourth = Object.fromEntries(at(800, () => holds.take()));
          return [first, second, third, fourth];
        }"""
    )
    assert shares == [{"half": 0.5, "tap": 0.3}, {"half": 1}, {"half": 0.5}, {}]


@in_browser
def test_without_a_gpu_the_page_says_so_and_runs_on_the_processor(launched, address):
    page = open_page(launched, address, backend="auto")
    assert page.inner_text("#backend") == "WebAssembly"
    assert "WebGPU" in page.inner_text("#provenance")
    page.context.close()


@in_browser
@pytest.mark.parametrize("width", [390, 1024, 1920])
def test_nothing_hangs_over_and_every_control_has_a_name(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, progress")].filter((one) =>
          !(one.getAttribute("aria-label") || one.labels?.[0]?.textContent.trim() ||
            one.textContent.trim())).map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_the_page_is_of_the_bundled_model_and_of_these_sources():
    manifest = json.loads((PLAY / "model" / "manifest.json").read_text())
    for name, digest in manifest["provenance"]["weights_sha256"].items():
        place = DECODER if name == f"tokenizer/{WEIGHTS}" else BUNDLED / "lift" / Path(name).parent
        weights = (place / WEIGHTS).read_bytes()
        assert digest == hashlib.sha256(weights).hexdigest(), "run `roboscape export page`"
    for graph in manifest["graphs"].values():
        packed = (PLAY / "model" / f"{graph['file']}.gz").read_bytes()
        assert graph["sha256"] == hashlib.sha256(gzip.decompress(packed)).hexdigest()
    for source in PAGE_FILES.iterdir():
        assert (PLAY / source.name).read_bytes() == source.read_bytes(), source.name


def test_the_page_is_small_enough_for_any_host(content):
    total, download = page_bytes(PLAY)
    assert total <= 25e6 and download <= 15e6
    assert max(path.stat().st_size for path in PLAY.rglob("*") if path.is_file()) < 20e6
    assert content["runtime"]["integrity"] == RUNTIME.integrity
    assert "MIT License" in (PLAY / RUNTIME.name / "LICENSE").read_text()
