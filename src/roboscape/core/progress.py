"""Progress bars: lively on a terminal, a line now and then in a log file."""

import sys

from tqdm import tqdm


def progress(
    total: int, description: str, *, initial: int = 0, unit: str = "it", silent: bool = False
) -> tqdm:
    """A progress bar over `total` steps of which `initial` are done."""
    interval_s = 0.2 if sys.stderr.isatty() else 20.0
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        mininterval=interval_s,
        maxinterval=max(10.0, interval_s),
        dynamic_ncols=True,
        disable=silent,
    )
