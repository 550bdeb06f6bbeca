"""Cost of an imagined frame: with the cache, and by recomputing the whole clip at every pass.

    python benchmarks/rollout.py --preset small --frames 4

The plain form is what open implementations of this model family do: every pass of every frame runs
all 16 frames, those still to come included. Both forms run here in one process, in turns, on the
same random weights, and must choose the same tokens.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.core.runs import describe_machine
from roboscape.presets.world_model import PRESETS
from roboscape.rollout.imagine import Imagination
from roboscape.tokenizer.codes import join_factors
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig
from roboscape.world_model.masking import next_frame_rows
from roboscape.world_model.model import WorldModel

CONTROL_SIZE = 44


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--frames", type=int, default=4, help="frames that both forms imagine")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = random_model(arguments.preset)
    print(f"{describe_machine()}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"preset {arguments.preset}: {model.parameter_counts()}, fp32, batch 1, one pass a frame")
    compare(model, frames=arguments.frames)
    if model.config.grid == (8, 8):
        measure_with_decoding(model)


def random_model(preset: str) -> WorldModel:
    """A preset's model with weights that all matter: a fresh one's heads are zero."""
    torch.manual_seed(0)
    model = WorldModel(replace(PRESETS[preset]().model, control_size=CONTROL_SIZE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model.requires_grad_(requires_grad=False)


def compare(model: WorldModel, *, frames: int) -> None:
    """Both forms in turns, frame by frame, so that both meet the same disturbances."""
    prompt, controls = random_prompt(model)
    fast, slow = cached(model, prompt, controls), plain(model, prompt, controls)
    seconds: dict[str, list[float]] = {"cached": [], "plain": []}
    equal = True
    for _ in range(frames):
        codes = {}
        for name, form in (("cached", fast), ("plain", slow)):
            start = time.perf_counter()
            codes[name] = next(form)
            seconds[name].append(time.perf_counter() - start)
        equal &= torch.equal(codes["cached"], codes["plain"])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"same greedy tokens in {frames} frames: {'yes' if equal else 'NO'}")
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.4f} to {max(seconds[name]):.4f}"
        print(f"{name:8} {median:.4f} s a frame ({spread})")
    print(f"cached is {medians['plain'] / medians['cached']:.1f} times faster")


def random_prompt(model: WorldModel) -> tuple[Int[Tensor, "m 1 1 n"], Float[Tensor, "1 t c"]]:
    """One frame of random codes, and controls for a whole clip."""
    config = model.config
    shape = (config.modalities, 1, 1, config.tokens_per_frame)
    prompt = torch.randint(2**config.code_bits, shape).int()
    return prompt, torch.randn(1, config.max_frames, CONTROL_SIZE)


def cached(
    model: WorldModel, prompt: Int[Tensor, "m 1 1 n"], controls: Float[Tensor, "1 t c"]
) -> Iterator[Int[Tensor, "m 1 n"]]:
    """The library's own form."""
    imagination = Imagination(model, rgb=prompt[0], depth=prompt[-1], controls=controls[:, :1])
    for control in controls[:, 1:].unbind(dim=1):
        frame = imagination.step(control)
        assert frame.depth_codes is not None
        yield torch.stack([frame.rgb_codes, frame.depth_codes])


@torch.no_grad()
def plain(
    model: WorldModel, prompt: Int[Tensor, "m 1 1 n"], controls: Float[Tensor, "1 t c"]
) -> Iterator[Int[Tensor, "m 1 n"]]:
    """All rows of the clip at every frame."""
    frames = controls.shape[1]
    clip = torch.zeros(*prompt.shape[:2], frames, prompt.shape[-1], dtype=torch.int32)
    clip[:, :, :1] = prompt
    for frame in range(1, frames):
        logits = torch.stack(model(next_frame_rows(clip, controls)))
        groups = logits[:, :, frame - 1].argmax(dim=-1)
        clip[:, :, frame] = join_factors(groups, code_bits=model.config.code_bits)
        yield clip[:, :, frame]


def measure_with_decoding(model: WorldModel, *, frames: int = 60) -> None:
    """Frames a second as a viewer sees them: RGB and depth images, beyond the window too."""
    tokenizer = Tokenizer(TokenizerConfig()).eval().requires_grad_(requires_grad=False)
    prompt, _ = random_prompt(model)
    controls = torch.randn(1, frames + 1, CONTROL_SIZE)
    times = []
    form = cached(model, prompt, controls)
    for _ in range(frames):
        start = time.perf_counter()
        tokenizer.decode(next(form)[:, 0])
        times.append(time.perf_counter() - start)
    median = statistics.median(times[5:])
    print(f"imagined and decoded, RGB and depth: {1 / median:.1f} frames/s (median of {frames})")


if __name__ == "__main__":
    main()
