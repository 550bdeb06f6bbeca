"""The speed of loading clips, against the speed at which any training could read them."""

import tempfile
from pathlib import Path

import numpy as np

from roboscape.bench.flops import training_flops
from roboscape.bench.models import shape_of
from roboscape.bench.peaks import Peaks
from roboscape.bench.record import Figure
from roboscape.bench.synthetic_store import STRIDE, make_store
from roboscape.bench.timing import figure, repeated
from roboscape.presets.world_model import PRESETS
from roboscape.tokens.store import TokenStore
from roboscape.world_model.batches import BatchMaker

BATCH, POINTS = 16, 320
"""Clips of a batch, and tracked points of a clip."""


def measure_loading(*, preset: str, peaks: Peaks, seconds: float, episodes: int) -> list[Figure]:
    """Clips a second out of a synthetic token store whose frames are the preset's."""
    shape = shape_of(preset, branches="both")
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), episodes=episodes, points=POINTS, tokens_per_side=shape.grid[0])
        store = TokenStore(Path(folder))
        clip = {"length": shape.max_frames, "stride": STRIDE}
        count = len(store.clips("train", **clip))
        config = PRESETS[preset]()
        maker = BatchMaker(
            config=config,
            model=shape,
            clips=count,
            read=lambda indices: store.batch(indices, split="train", **clip),
        )
        random = np.random.default_rng(0)
        steps = iter(range(2**31))
        works = {
            "clips read": (
                lambda: store.batch(random.integers(count, size=BATCH), split="train", **clip),
                BATCH,
            ),
            "clips read and made into training rows": (
                lambda: maker.microbatches(next(steps)),
                config.batch_size,
            ),
        }
        rates = {
            name: [clips / t for t in repeated(work, device="cpu", seconds=seconds)]
            for name, (work, clips) in works.items()
        }
    figures = [
        figure(f"loading: {name}", samples, unit="clips/s", better="higher")
        for name, samples in rates.items()
    ]
    most = 1 / peaks.seconds(training_flops(shape, rows=shape.max_frames - 1)).value
    margins = [rate / most for rate in rates["clips read and made into training rows"]]
    name = "loading: clips made over what training could take at the matmul peak"
    return [*figures, figure(name, margins, unit="x", better="higher")]
