"""The report's tables: metric, protocol, model, floors, ceiling."""

from html import escape

from roboscape.evaluate.results import Measured, Row

GROUPS = (
    ("Appearance", ("psnr", "ssim", "lpips")),
    ("Geometry", ("abs_rel", "delta1", "delta2")),
    ("Views", ("view_agreement", "view_distance")),
    ("Control", ("delta_psnr",)),
    ("Motion", ("spatial_iou", "spatiotemporal_iou", "weighted_spatial_iou", "mse")),
    ("Tokens", ("token_accuracy_rgb", "token_accuracy_depth")),
)
"""Headings, and the metrics below them by the part of their key before the protocol."""
HEADINGS = ("model", "still picture", "still picture, decoded", "ceiling")


def tables(rows: tuple[Row, ...]) -> str:
    """Against the raw truth in the open, against the decoded truth on demand."""
    raw = [row for row in rows if row.reference != "decoded"]
    decoded = [row for row in rows if row.reference == "decoded"]
    if not decoded:
        return table(raw)
    return (
        f"{table(raw)}<details><summary>The same against decoded truth, which takes the "
        f"tokenizer's own loss out of the comparison</summary>{table(decoded)}</details>"
    )


def table(rows: list[Row]) -> str:
    """One table with a heading a group."""
    heads = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    body = []
    for title, metrics in GROUPS:
        members = [row for row in rows if row.name.key.split("@")[0].split(",")[0] in metrics]
        if members:
            body.append(f'<tr class="group"><td colspan="5">{escape(title)}</td></tr>')
        for number_in_group, row in enumerate(members):
            before = members[number_in_group - 1].name.common if number_in_group else ""
            if row.name.common != before:
                body.append(
                    f'<tr class="common"><td colspan="5">{escape(row.name.common)}</td></tr>'
                )
            body.append(table_row(row))
    return (
        f'<div class="scroll"><table><thead><tr><th>metric and protocol</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def table_row(row: Row) -> str:
    """One metric; an empty row says why it is empty."""
    name = row.name
    arrow = "↑" if name.better == "higher" else "↓"
    unit = f", {name.unit}" if name.unit else ""
    first = (
        f'<td>{escape(name.title)}<span class="better"> {arrow}{escape(unit)}</span>'
        f'<span class="protocol">{escape(name.protocol)}</span></td>'
    )
    if row.camera:
        # Below the mean over all cameras, which says the rest.
        first = f'<td>· {escape(row.camera)}<span class="better"> {arrow}{escape(unit)}</span></td>'
    others = [
        cell(row, measured, "other") for measured in (row.static, row.static_decoded, row.ceiling)
    ]
    if row.model is not None:
        return f"<tr>{first}{cell(row, row.model, 'model')}{''.join(others)}</tr>"
    if any((row.static, row.static_decoded, row.ceiling)):
        return f'<tr>{first}<td title="{escape(name.missing)}">—</td>{"".join(others)}</tr>'
    return f'<tr>{first}<td class="missing" colspan="4">{escape(name.missing)}</td></tr>'


def cell(row: Row, measured: Measured | None, kind: str) -> str:
    """A mean with its interval, and its spread over seeds where there are several."""
    if measured is None:
        return f'<td class="{kind}">—</td>'
    found, digits = measured.estimate, row.name.digits
    spread = "" if found.spread is None else f" ± {found.spread:.{digits}f}"
    interval = f"{found.low:.{digits}f} – {found.high:.{digits}f}"
    if found.num_episodes == 1:
        interval = "one episode: no interval"
    return (
        f'<td class="{kind}">{number(row, measured)}{spread}'
        f'<span class="interval">{interval}</span></td>'
    )


def number(row: Row, measured: Measured) -> str:
    """A mean with the metric's number of decimals and a true minus sign."""
    return f"{measured.estimate.mean:.{row.name.digits}f}".replace("-", "−")
