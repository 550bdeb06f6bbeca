"""The number formats of a run: chosen when it begins, kept when it is resumed."""

import logging
from collections.abc import Sequence
from pathlib import Path

from roboscape.core.files import write_json
from roboscape.core.precision import Format, Kind, Precision, compute_format
from roboscape.training.checkpoint import saved_formats
from roboscape.training.parallel import ONE_RANK, Ranks

log = logging.getLogger(__name__)

FORMATS = "number_formats.json"


def settle_formats(
    run: Path,
    precision: Precision,
    *,
    kinds: Sequence[Kind],
    device: str,
    ranks: Ranks = ONE_RANK,
) -> dict[Kind, Format]:
    """The number format of every kind of operation, the same on all ranks.

    That of the newest checkpoint, so that a run resumed on another machine computes on as it began;
    else what `precision` asks for. Written to `number_formats.json` in the run's folder.

    Raises:
        ValueError: this device cannot compute in the checkpoint's format.
    """
    saved = saved_formats(run / "checkpoints") if ranks.is_main else {}
    chosen: dict[Kind, Format] = {
        kind: compute_format(precision, kind=kind, device=device) for kind in kinds
    }
    formats: dict[Kind, Format] = ranks.share(
        {kind: saved.get(kind, chosen[kind]) for kind in kinds}
    )
    for kind, number_format in formats.items():
        compute_format(number_format, kind=kind, device=device)
        if number_format != chosen[kind]:
            log.info(
                "%s: going on in %s, the format that the run began in; here %s would be chosen",
                kind,
                number_format,
                chosen[kind],
            )
    if ranks.is_main:
        write_json(run / FORMATS, formats)
    return formats
