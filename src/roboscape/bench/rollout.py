"""The cost of an imagined frame: with the cache, and by recomputing the whole clip every pass.

Both forms take the same random weights and run in turns in one process.
"""

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import repeat
from torch import Tensor, nn

from roboscape.bench.flops import frame_flops, plain_frame_flops
from roboscape.bench.models import random_model, random_prompt, shape_of
from roboscape.bench.peaks import FORMATS, Peaks
from roboscape.bench.plain import PlainWorldModel
from roboscape.bench.plain_rollout import PlainImagination
from roboscape.bench.record import Curve, Figure
from roboscape.bench.timing import Limit, Work, figure, in_turns, ratio, repeated, seconds_of
from roboscape.core.precision import compute_dtype
from roboscape.core.progress import progress
from roboscape.rollout.imagine import Imagination, ImaginedFrame
from roboscape.rollout.sampling import Sampling
from roboscape.tokenizer.inference import for_decoding
from roboscape.tokenizer.model import Tokenizer, TokenizerConfig
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.inference import for_imagining
from roboscape.world_model.model import WorldModel

REFINED = 2
"""Passes a frame of the refined forms, as open implementations take by default."""
SHORT = {dtype: name for name, dtype in FORMATS.items()}
"""Names of number formats."""
STRETCH = 50
"""Frames over which the cost curve takes a median."""
EARLY, LATE = 16, 100
"""First frame of the curve's beginning, and the number of frames that are its end."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The length of the measurement."""

    rounds: int
    """Turns of every form against the plain one."""
    horizon: int
    """Frames of the cost curve."""
    seconds: float
    """For a figure that is measured on its own."""
    batches: tuple[int, ...]
    """Rollouts at a time."""
    compared_frames: int = 8
    """Frames whose tokens are compared with the plain form's; the first alone reads no cache."""


@dataclass(kw_only=True)
class Found:
    """Figures and curves of a group."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def measure_rollout(*, preset: str, device: str, peaks: Peaks, effort: Effort) -> Found:
    """All figures of rollouts of a preset's shape."""
    found = Found()
    plain = random_model(shape_of(preset, branches="rgb"), device=device)
    both = random_model(shape_of(preset, branches="both"), device=device)
    lift = random_model(shape_of("lift", branches="both"), device=device)
    dtype = compute_dtype(peaks.precision, kind="matmul", device=device)
    rgb, both, lift = (for_imagining(model, dtype=dtype) for model in (plain, both, lift))
    found.figures += against_plain(
        PlainWorldModel.of(plain), rgb=rgb, both=both, peaks=peaks, rounds=effort.rounds
    )
    found.figures += agreement(plain, rgb, dtype=dtype, frames=effort.compared_frames)
    found.figures += [
        batched(rgb, batch=batch, peaks=peaks, seconds=effort.seconds) for batch in effort.batches
    ]
    painting = compute_dtype(peaks.precision, kind="convolution", device=device)
    found.figures.append(decoded(both, dtype=painting, seconds=effort.seconds))
    flat = cost_curve(lift, horizon=effort.horizon)
    found.figures += flat.figures
    found.curves += flat.curves
    return found


def against_plain(
    plain: PlainWorldModel, *, rgb: WorldModel, both: WorldModel, peaks: Peaks, rounds: int
) -> list[Figure]:
    """Seconds a frame of every form, and their ratios."""
    cached = {
        "cached RGB, 1 pass": (rgb, 1),
        f"cached RGB, {REFINED} passes": (rgb, REFINED),
        "cached RGB + depth, 1 pass": (both, 1),
    }
    works = {
        "plain RGB, 1 pass": Work(call=plain_frames(plain, passes=1)),
        f"plain RGB, {REFINED} passes": Work(call=plain_frames(plain, passes=REFINED)),
    }
    for name, (model, passes) in cached.items():
        works[name] = Work(call=filled(model, passes=passes), repeats=4)
    times = in_turns(works, device=device_of(plain), rounds=rounds)
    flops = {
        "plain RGB, 1 pass": plain_frame_flops(plain.config, passes=1),
        f"plain RGB, {REFINED} passes": plain_frame_flops(plain.config, passes=REFINED),
        **{name: frame_flops(m.config, passes=passes) for name, (m, passes) in cached.items()},
    }
    costs = [
        figure(
            f"rollout: {name}",
            samples,
            unit="s/frame",
            limit=peaks.seconds(flops[name], kind="fp32" if name.startswith("plain") else ""),
        )
        for name, samples in times.items()
    ]
    return [*costs, *gains(times, flops, peaks=peaks)]


def device_of(model: nn.Module) -> str:
    """The device of a model."""
    return str(next(model.parameters()).device)


def gains(times: dict[str, list[float]], flops: dict[str, float], *, peaks: Peaks) -> list[Figure]:
    """Ratios of the plain form's times to ours: at equal passes, and at those of usual practice."""
    one, refined = "plain RGB, 1 pass", f"plain RGB, {REFINED} passes"
    pairs = [
        (f"cached RGB, {REFINED} passes", refined),
        ("cached RGB, 1 pass", one),
        ("cached RGB, 1 pass", refined),
        ("cached RGB + depth, 1 pass", refined),
    ]
    return [
        ratio(
            f"rollout: {fast} against {slow}",
            times[slow],
            times[fast],
            limit=peaks.speedup(flops[fast], plain_flops=flops[slow]),
        )
        for fast, slow in pairs
    ]


def plain_frames(model: PlainWorldModel, *, passes: int) -> Callable[[], Tensor]:
    """A call that imagines one more frame, plainly."""
    device = device_of(model)
    prompt, control = random_prompt(model.config, batch=1, device=device)
    rollout = PlainImagination(model, prompt=prompt, refinement_steps=passes)
    return lambda: rollout.step(control)


def cached_frames(
    model: WorldModel, *, passes: int = 1, batch: int = 1, prompt_frames: int = 1
) -> Callable[[], ImaginedFrame]:
    """A call that imagines one more frame of every rollout, as the library does it."""
    prompt, control = random_prompt(
        model.config, batch=batch, device=device_of(model), frames=prompt_frames
    )
    rollout = Imagination(model, batch=batch, sampling=Sampling(refinement_steps=passes))
    rollout.reset(
        rgb=prompt[0],
        depth=prompt[-1],
        controls=repeat(control, "b c -> b t c", t=prompt_frames),
    )
    return lambda: rollout.step(control)


def filled(model: WorldModel, *, passes: int = 1, batch: int = 1) -> Callable[[], ImaginedFrame]:
    """The same after a prompt that fills the cache's window."""
    frames = model.config.window + 1
    return cached_frames(model, passes=passes, batch=batch, prompt_frames=frames)


def agreement(
    model: WorldModel, prepared: WorldModel, *, dtype: torch.dtype, frames: int
) -> list[Figure]:
    """Share of greedy tokens that the plain form chooses too, in the first frames of a rollout.

    In fp32 all are equal where the cache is exact. In another format near ties are decided
    otherwise, of which random weights have many; both forms go on from their own tokens.

    Args:
        model: in fp32.
        prepared: the same model in `dtype`.
        dtype: number format.
        frames: how many are compared; the plain form ends with its clip.
    """
    frames = min(frames, model.config.max_frames - 1)
    forms = {torch.float32: model, dtype: prepared}
    found = []
    for kind, form in forms.items():
        fast, slow = cached_frames(form), plain_frames(PlainWorldModel.of(model), passes=1)
        shares = [(fast().rgb_codes == slow()[0]).float().mean().item() for _ in range(frames)]
        name = f"rollout: greedy tokens in {SHORT[kind]} equal to the plain form's"
        found.append(figure(name, shares, unit="share", better="higher"))
    return found


def batched(model: WorldModel, *, batch: int, peaks: Peaks, seconds: float) -> Figure:
    """Frames a second of many rollouts at a time."""
    device = device_of(model)
    times = repeated(filled(model, batch=batch), device=device, seconds=seconds)
    least = peaks.seconds(frame_flops(model.config, batch=batch))
    limit = Limit(value=batch / least.value, reason=least.reason)
    return figure(
        f"rollout: cached RGB, 1 pass, {batch} rollouts at a time",
        [batch / t for t in times],
        unit="frames/s",
        better="higher",
        limit=limit,
    )


def decoded(model: WorldModel, *, dtype: torch.dtype, seconds: float) -> Figure:
    """Frames a second as a viewer sees them: imagined and decoded in `dtype`, RGB and depth."""
    device = device_of(model)
    tokenizer = for_decoding(tokenizer_for(model.config).to(device), dtype=dtype)
    call = filled(model)

    def show() -> tuple[Tensor, Tensor | None]:
        frame = call()
        depth = None if frame.depth_codes is None else tokenizer.decode_depth(frame.depth_codes)
        return tokenizer.decode_rgb(frame.rgb_codes), depth

    with torch.no_grad():
        times = repeated(show, device=device, seconds=seconds)
    side = tokenizer.config.image_size
    return figure(
        f"rollout: RGB + depth, 1 pass, decoded to {side} x {side} pixels",
        [1 / t for t in times],
        unit="frames/s",
        better="higher",
    )


def tokenizer_for(config: WorldModelConfig) -> Tokenizer:
    """An untrained tokenizer whose token grid is the world model's, 16 pixels a token."""
    shape = TokenizerConfig(image_size=16 * config.grid[0], code_bits=config.code_bits)
    return Tokenizer(shape).eval().requires_grad_(requires_grad=False)


def cost_curve(model: WorldModel, *, horizon: int) -> Found:
    """Cost and memory of a long rollout, frame by frame: both should be flat."""
    device = device_of(model)
    call = cached_frames(model)
    times: list[float] = []
    memory: dict[int, float] = {}
    with progress(horizon, "long rollout") as bar:
        for frame in range(horizon):
            if frame in (EARLY + STRETCH, horizon - 1):
                gc.collect()
                memory[frame] = memory_mib(device)
            times.append(seconds_of(call, device=device))
            bar.update()
    late = times[-min(LATE, horizon // 4) :]
    early = times[EARLY : EARLY + len(late)]
    starts = range(EARLY, horizon - STRETCH + 1, STRETCH)
    curve = Curve(
        name="rollout: seconds a frame (lift)",
        unit="s/frame",
        frames=tuple(starts),
        values=tuple(statistics.median(times[start : start + STRETCH]) for start in starts),
    )
    name = f"rollout: frames up to {horizon} over frames from {EARLY} on (lift)"
    flat = statistics.median(late) / statistics.median(early)
    grown = max(memory.values()) - memory[min(memory)]
    return Found(
        figures=[
            figure("rollout: cached RGB + depth, 1 pass (lift)", late, unit="s/frame"),
            figure(name, [flat], unit="x"),
            figure(f"rollout: memory grown by frame {horizon} (lift)", [grown], unit="MiB"),
        ],
        curves=[curve],
    )


def memory_mib(device: str) -> float:
    """Memory that is in use: on the GPU, or of this process without mapped files."""
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) / 1024
