"""Frames a second through the tokenizer, in both directions."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from roboscape.bench.peaks import Peaks
from roboscape.bench.record import Figure
from roboscape.bench.timing import Limit, figure, repeated
from roboscape.presets.tokenizer import PRESETS
from roboscape.tokenizer.model import Tokenizer

BATCHES = (1, 16)


@torch.no_grad()
def measure_tokenizer(*, preset: str, device: str, peaks: Peaks, seconds: float) -> list[Figure]:
    """Encoding and decoding, a frame at a time and in batches."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(PRESETS[preset]().model).eval().to(device)
    side, found = tokenizer.config.image_size, []
    for batch in BATCHES:
        images = torch.rand(batch, 3, side, side, device=device) * 2 - 1
        codes = tokenizer.encode(images)
        works: dict[str, Callable[[], object]] = {
            "encoded": lambda images=images: tokenizer.encode(images),
            "decoded": lambda codes=codes: tokenizer.decode(codes),
        }
        for name, work in works.items():
            with FlopCounterMode(display=False) as counter:
                work()
            least = peaks.seconds(float(counter.get_total_flops()))
            times = repeated(work, device=device, seconds=seconds)
            found.append(
                figure(
                    f"tokenizer: {name} {side} x {side}, {batch} at a time ({preset})",
                    [batch / t for t in times],
                    unit="frames/s",
                    better="higher",
                    limit=Limit(value=batch / least.value, reason=least.reason),
                )
            )
    return found
