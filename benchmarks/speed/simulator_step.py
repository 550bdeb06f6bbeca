"""What the simulators' protocol adds to imagining and decoding the same frames.

Steps of `LearnedSimulator` and bare steps of `Imagination` with decoding take turns in one process,
on the same actions; the quotient of each pair counts, and its median is printed.
"""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
import tyro

from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.pictures import GivenFrames, ImaginedFrames, Kind, decode_frames
from roboscape.simulators.protocol import FrameStart


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where and how long to measure."""

    checkpoint: str = "lift"
    """Folder or hub name of a bundle."""
    batches: tuple[int, ...] = (1, 16)
    """Numbers of worlds."""
    pairs: int = 20
    """Steps of each kind; two further ones warm up."""
    threads: int = 1
    """Of PyTorch."""
    compute: Compute = PROBED
    """Where and in which format."""


def grey_frame(bundle: Bundle) -> FrameStart:
    """A grey scene; what it shows costs nothing."""
    side = bundle.tokenizer.config.image_size
    return FrameStart(
        rgb={"camera": np.full((side, side, 3), 128, np.uint8)},
        depth_m={"camera": np.ones((side, side), np.float32)},
        state=np.zeros(bundle.controls.statistics.state_size, np.float32),
    )


def begun(bundle: Bundle, *, batch: int) -> LearnedSimulator:
    """A simulator of grey scenes."""
    simulator = LearnedSimulator(bundle, batch=batch, cameras=("camera",))
    simulator.reset([grey_frame(bundle)] * batch)
    return simulator


@torch.no_grad()
def grey_frames(bundle: Bundle, *, batch: int) -> dict[Kind, GivenFrames]:
    """The grey scene as the decoder gets it, for every world."""
    tokenizer, frame = bundle.tokenizer, grey_frame(bundle)
    rgb, depth_m = (
        np.repeat(pixels["camera"][None], batch, axis=0) for pixels in (frame.rgb, frame.depth_m)
    )
    return {
        "rgb": GivenFrames(rgb, tokenizer.encode_rgb(torch.from_numpy(rgb)).numpy()),
        "depth": GivenFrames(depth_m, tokenizer.encode_depth(torch.from_numpy(depth_m)).numpy()),
    }


@torch.no_grad()
def bare_step(
    bundle: Bundle,
    simulator: LearnedSimulator,
    control: torch.Tensor,
    given: dict[Kind, GivenFrames],
) -> None:
    """A frame of the engine alone, and its pixels, the given frame in the decoder's view."""
    frame = simulator.engine.step(control)
    found: dict[Kind, ImaginedFrames] = {
        "rgb": ImaginedFrames(codes=frame.rgb_codes, soft=frame.rgb_soft, given=given["rgb"])
    }
    if frame.depth_codes is not None and frame.depth_soft is not None:
        found["depth"] = ImaginedFrames(
            codes=frame.depth_codes, soft=frame.depth_soft, given=given["depth"]
        )
    decode_frames(bundle.tokenizer, found)


def measure(bundle: Bundle, *, batch: int, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of protocol steps and of bare ones, pair by pair."""
    protocol, bare = (begun(bundle, batch=batch) for _ in range(2))
    generator = np.random.default_rng(0)
    shape = (batch, protocol.spec.stride, len(protocol.spec.action.names))
    control = torch.zeros(batch, bundle.controls.size, device=protocol.tokens.device)
    given = grey_frames(bundle, batch=batch)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs + 2):
        actions = generator.uniform(-1, 1, size=shape).astype(np.float32)
        start = time.perf_counter()
        protocol.step(actions)
        middle = time.perf_counter()
        bare_step(bundle, bare, control, given)
        end = time.perf_counter()
        found[0].append(middle - start)
        found[1].append(end - middle)
    return found[0][2:], found[1][2:]


def main() -> None:
    """Measure, and print a line a batch."""
    config = tyro.cli(Benchmark, description=__doc__)
    torch.set_num_threads(config.threads)
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    for batch in config.batches:
        protocol, bare = measure(bundle, batch=batch, pairs=config.pairs)
        ratios = [one / other for one, other in zip(protocol, bare, strict=True)]
        print(
            f"{batch} worlds: {1000 * statistics.median(protocol):.1f} ms a step through the "
            f"protocol, {1000 * statistics.median(bare):.1f} ms bare, ratio "
            f"{statistics.median(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
