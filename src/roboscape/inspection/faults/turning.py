"""Rotations that look wrong: degrees, quaternions that are not unit or change their sign."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.finding import Finding, Line, Plot
from roboscape.inspection.faults.pairs import angle_groups, quaternion_groups
from roboscape.inspection.survey import NUMBERS, Numbers, Survey

LARGEST_ANGLE_RAD = 2 * np.pi * 1.1
FASTEST_RAD_S = 40.0
"""Commanded turning beyond this is impossible; a deg/s taken for rad/s soon is."""
UNIT_WITHIN = 0.02
CALLED_DEGREES = ("deg",)


def turning_faults(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about rotations, of the actions and of the state."""
    for what in NUMBERS:
        if len(seen.values(what)) < 2:
            continue
        yield from _degrees(seen, spec, what=what)
        for name, places in quaternion_groups(seen.names(what)).items():
            yield from _not_unit(seen, name, places, what=what)
            yield from _sign(seen, name, places, what=what)


def sign_flips(quaternions: Float[np.ndarray, "t 4"]) -> np.ndarray:
    """True in rows (but the first) that hold nearly the negative of the row before."""
    lengths = np.linalg.norm(quaternions, axis=1)
    product = (quaternions[1:] * quaternions[:-1]).sum(axis=1)
    return product < -0.9 * lengths[1:] * lengths[:-1]


def _degrees(seen: Survey, spec: DatasetSpec, *, what: Numbers) -> Iterator[Finding]:
    names = seen.names(what)
    values = seen.values(what).astype(np.float64)
    for places in angle_groups(names).values():
        group = [names[place] for place in places]
        if any(word in name.lower() for name in group for word in CALLED_DEGREES):
            continue
        columns = values[:, places]
        delta = what == "action" and spec.action.mode == "delta"
        if what == "action":
            units = {spec.action.units[place] for place in places}
            if units != {"rad"}:
                continue
            columns = columns * np.array([spec.action.scale[place] for place in places])
        largest = float(np.quantile(np.abs(columns), 0.99, axis=0).max())
        turned = largest * (spec.fps if delta else 1.0)
        limit = FASTEST_RAD_S if delta else LARGEST_ANGLE_RAD
        if turned <= limit:
            continue
        unit = "rad/s" if delta else "rad"
        worst = int(np.abs(columns).max(axis=0).argmax())
        shown = columns[:1000, worst]
        yield Finding(
            kind="degrees",
            where=f"{what} {', '.join(group)}",
            text=f"{what} {', '.join(group)} would reach {turned:.3g} {unit} (limit {limit:.3g}) "
            f"were they radians: they look like degrees ({np.deg2rad(turned):.2f} {unit})",
            fix=(f"radians={what}:{','.join(group)}",),
            plot=Plot(
                x_label="row",
                y_label="as if radians",
                lines=(Line(label=group[worst], x=np.arange(len(shown)), y=shown),),
            ),
        )


def _not_unit(seen: Survey, name: str, places: list[int], *, what: Numbers) -> Iterator[Finding]:
    lengths = np.linalg.norm(seen.values(what)[:, places].astype(np.float64), axis=1)
    wrong = np.abs(lengths - 1) > UNIT_WITHIN
    if not wrong.any():
        return
    rows = np.arange(min(len(lengths), 2000))
    yield Finding(
        kind="quaternion_not_unit",
        where=f"{what} {name}",
        text=f"the {what}'s quaternion {name} is not of length 1 in {wrong.mean():.0%} of the rows "
        f"(lengths {lengths.min():.3g} to {lengths.max():.3g})",
        fix=("unit_quaternions",),
        plot=Plot(
            x_label="row",
            y_label="length",
            lines=(
                Line(label=name, x=rows, y=lengths[:2000]),
                Line(label="a rotation's", x=rows, y=np.ones(len(rows))),
            ),
        ),
    )


def _sign(seen: Survey, name: str, places: list[int], *, what: Numbers) -> Iterator[Finding]:
    """A quaternion may turn into its negative from one row to the next: the same rotation."""
    flips = {rows.episode: sign_flips(rows.of(what)[:, places]) for rows in seen.episodes}
    if not (jumps := sum(int(found.sum()) for found in flips.values())):
        return
    first = next(rows for rows in seen.episodes if flips[rows.episode].any())
    column = first.of(what)[:, places]
    yield Finding(
        kind="quaternion_sign",
        where=f"{what} {name}",
        text=f"the {what}'s quaternion {name} jumps to its negative {jumps} times: the same "
        "rotation, but a model sees a leap; keep one sign (the one nearest to the row before)",
        fix=("continuous_quaternions",),
        plot=Plot(
            x_label="row",
            y_label=name,
            lines=tuple(
                Line(label=seen.names(what)[place], x=np.arange(len(column)), y=column[:, part])
                for part, place in enumerate(places)
            ),
        ),
    )
