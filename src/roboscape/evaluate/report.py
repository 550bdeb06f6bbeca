"""The report: one HTML page that holds everything it shows and asks the network for nothing."""

from base64 import b64encode
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from roboscape.core.files import atomic_path
from roboscape.core.video import write_video
from roboscape.evaluate.charts import SUBJECT_NAMES, line_chart, range_bar
from roboscape.evaluate.cube import CubeTest
from roboscape.evaluate.examples import Example
from roboscape.evaluate.panels import join_columns, make_columns
from roboscape.evaluate.results import ClipRecord, Results, Setting
from roboscape.evaluate.tables import number, tables
from roboscape.simulators.lift_cube import RISE_HEIGHT

REPORT = "report.html"
FILM_SCALE = 2
LAST_FRAME_HOLD_S = 0.8
FILM_GAP_PX = 12
TILES = {
    "psnr": "Likeness (PSNR)",
    "abs_rel@metric": "Depth error (AbsRel)",
    "delta_psnr@shuffled": "Obedience (ΔPSNR)",
}
CHARTS = (
    ("psnr", "raw"),
    ("ssim", "raw"),
    ("lpips", "raw"),
    ("abs_rel@metric", "raw"),
    ("delta1@metric", "raw"),
    ("delta_psnr@shuffled", "raw"),
    ("delta_psnr@genie_random", "raw"),
    ("token_accuracy_rgb", "codes"),
    ("token_accuracy_depth", "codes"),
)
RULE = (
    "<ol><li>The cube is the largest red patch that fills a quarter of a percent of the image.</li>"
    "<li>The table is the plane in the given frame's depth; a plane's inverse depth is linear in "
    "pixels, so no camera parameters are needed.</li>"
    "<li>The cube's height is the lower quartile over its pixels of 1 − depth / depth of the table "
    "behind it, as a fraction of the camera's height above the table.</li>"
    f"<li>It rose if that exceeds {RISE_HEIGHT:g} in any frame, about 5 cm: resting cubes read up "
    "to 0.09, lifted ones mostly 0.16 and more. RGB and depth must agree for a lift to count.</li>"
    "<li>Clips where this rule and the simulator's reward disagree on the true video (a lift that "
    "begins in the last frame or out of sight) are left out.</li></ol>"
)


def write_report(results: Results, examples: tuple[Example, ...], folder: Path) -> Path:
    """Write `report.html` and `videos/*.mp4` into a folder; returns the page's path."""
    pieces = files("roboscape.evaluate")
    films = [film(example, results.setting, folder / "videos") for example in examples]
    page = Template(pieces.joinpath("report.html").read_text()).substitute(
        style=pieces.joinpath("report.css").read_text(),
        title=escape(f"Evaluation of {results.setting.checkpoint}"),
        headline=escape(headline(results)),
        lede=escape(lede(results)),
        warning=warning(results.setting),
        tiles=tiles(results),
        films="\n".join(films),
        tables=tables(results.rows),
        legend=legend(),
        charts=charts(results),
        cube=cube_section(results.cube, results.cube_missing, results.setting),
        command=escape(results.setting.command),
        facts=facts(results.setting),
    )
    path = folder / REPORT
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def headline(results: Results) -> str:
    """One sentence that says what came out."""
    setting, row = results.setting, results.row("psnr")
    seconds = setting.horizon / setting.frame_hz
    start = f"{seconds:.1f} seconds imagined from one frame"
    if row.model is None or row.static is None:
        return f"{start}."
    gain = row.model.estimate.mean - row.static.estimate.mean
    side = "above" if gain >= 0 else "below"
    return f"{start}, {abs(gain):.1f} dB {side} a still picture."


def lede(results: Results) -> str:
    """What was done, in two sentences."""
    setting = results.setting
    parameters = (setting.world_model_parameters + setting.tokenizer_parameters) / 1e6
    return (
        f"{setting.num_clips} {setting.split} episodes, {setting.horizon} frames each at "
        f"{setting.frame_hz:g} Hz. The world model and its tokenizer ({parameters:.1f} million "
        "parameters together) see the first frame and the robot's actions, and nothing else."
    )


def warning(setting: Setting) -> str:
    """A note where the numbers are not test numbers."""
    if setting.split == "test":
        return ""
    seen = "were trained on" if setting.split == "train" else "may have guided the training"
    return (
        f'<p class="warning">These are {escape(setting.split)} episodes (seeds '
        f"{setting.first_seed} to {setting.last_seed}): they {seen}. "
        "Do not quote the numbers as test results.</p>"
    )


def tiles(results: Results) -> str:
    """The few numbers that one looks at first."""
    parts = []
    for key, title in TILES.items():
        row = results.row(key)
        if row.model is None:
            continue
        below = range_bar(row) or f'<p class="say">{escape(row.name.protocol)}</p>'
        parts.append(tile(title, number(row, row.model), row.name.unit, below))
    if results.cube:
        cube = results.cube
        clips = cube.rose_in_both + cube.rose_only_in_truth
        say = (
            f"of imagined videos lift the cube when, and only when, the true one does; "
            f"{cube.rose_in_both} of {clips} true lifts imagined"
        )
        value = f"{cube.agreement:.0%}"
        parts.append(tile("Cube test", value, "", f'<p class="say">{say}</p>'))
    return "\n".join(parts)


def tile(name: str, value: str, unit: str, below: str) -> str:
    """One number."""
    small = f"<small>{escape(unit)}</small>" if unit else ""
    return (
        f'<div class="tile"><p class="name">{escape(name)}</p>'
        f'<p class="value">{escape(value)}{small}</p>{below}</div>'
    )


def film(example: Example, setting: Setting, folder: Path) -> str:
    """One clip as a looping video inside the page; the file is also kept in `folder`."""
    columns = make_columns(example.truth, example.imagined)
    frames = join_columns(columns, scale=FILM_SCALE, gap_px=FILM_GAP_PX)
    rest = np.repeat(frames[-1:], round(LAST_FRAME_HOLD_S * setting.frame_hz), axis=0)
    path = folder / f"episode_{example.record.episode:06d}.mp4"
    with atomic_path(path) as temporary:
        write_video(temporary, np.concatenate([frames, rest]), fps=setting.frame_hz)
    data = b64encode(path.read_bytes()).decode()
    captions = "".join(f"<span>{escape(column.caption)}</span>" for column in columns)
    kind = "film failure" if example.is_failure else "film"
    return (
        f'<figure class="{kind}"><figcaption><span class="tag">{escape(example.label)}</span>'
        f'<span class="about">{about(example.record)}</span></figcaption>'
        f'<div style="{gaps(len(columns), frames.shape[2])}"><div class="columns">{captions}</div>'
        '<div class="stage"><video autoplay loop muted playsinline '
        f'src="data:video/mp4;base64,{data}"></video></div></div></figure>'
    )


def gaps(num_columns: int, width_px: int) -> str:
    """Where the gaps between a film's columns lie, for the style sheet to lay paper over them."""
    column_px = (width_px - (num_columns - 1) * FILM_GAP_PX) / num_columns
    return (
        f"--columns:{num_columns};--column:{100 * column_px / width_px:.4f}%;"
        f"--gap:{100 * FILM_GAP_PX / width_px:.4f}%"
    )


def about(record: ClipRecord) -> str:
    """What there is to say about one clip."""
    parts = [f"episode {record.episode}"]
    if record.behaviour:
        parts.append(record.behaviour.replace("_", " "))
    parts.append(
        f"{record.psnr_db:.1f} dB (still picture {record.static_psnr_db:.1f}, ceiling "
        f"{record.ceiling_psnr_db:.1f})"
    )
    return escape(" · ".join(parts))


def legend() -> str:
    """Which colour is what."""
    return "".join(
        f'<span><i class="{subject}"></i>{escape(name)}</span>'
        for subject, name in SUBJECT_NAMES.items()
    )


def charts(results: Results) -> str:
    """Curves over the imagined frames."""
    parts = []
    for key, reference in CHARTS:
        row = results.row(key, reference=reference)
        if chart := line_chart(row):
            direction = f"{row.name.better} is better"
            unit = f"{row.name.unit}, {direction}" if row.name.unit else direction
            parts.append(
                f'<figure class="chart"><figcaption><h3>{escape(row.name.title)}</h3>'
                f"<span>{escape(unit)}</span></figcaption>{chart}</figure>"
            )
    return "\n".join(parts)


def cube_section(cube: CubeTest | None, missing: str, setting: Setting) -> str:
    """The confusion matrix, the rule, and how far the rule itself can be trusted."""
    if cube is None:
        return f'<p class="note">Not tested: {escape(missing)}.</p>'
    cells = (
        ("right", cube.rose_in_both, "lifted in both"),
        ("wrong", cube.rose_only_in_truth, "lift missed"),
        ("wrong", cube.rose_only_in_imagination, "lift invented"),
        ("right", cube.rose_in_neither, "stayed in both"),
    )
    drawn = [
        f'<div class="cell {kind}{" some" if count else ""}"><strong>{count}</strong>{words}</div>'
        for kind, count, words in cells
    ]
    matrix = (
        '<div class="matrix"><span></span><span class="head">imagined: rises</span>'
        '<span class="head">imagined: stays</span><span class="side">truth:<br>rises</span>'
        f'{drawn[0]}{drawn[1]}<span class="side">truth:<br>stays</span>{drawn[2]}{drawn[3]}</div>'
    )
    detector = "this dataset has no rewards to check it with"
    if cube.detector_agreement is not None:
        detector = (
            f"on the true videos it agrees with the simulator's reward in "
            f"{cube.detector_agreement:.1%} of {setting.num_clips} clips ({cube.undecided} left "
            "out)"
        )
    return (
        f'<div class="cube">{matrix}<div><p>Truth and imagination agree in '
        f"<strong>{cube.agreement:.1%}</strong> of clips. The same rule reads both videos; "
        f"{detector}, and through the tokenizer alone it keeps {cube.ceiling_agreement:.1%} of its "
        f"verdicts. Of the frames that show the true cube, {cube.seen:.1%} also show the imagined "
        "one.</p>"
        f"{RULE}</div></div>"
    )


def facts(setting: Setting) -> str:
    """Everything needed to do it again."""
    pairs = (
        ("Checkpoint", setting.checkpoint),
        ("Dataset", setting.dataset),
        ("Split", f"{setting.split} (seeds {setting.first_seed} to {setting.last_seed})"),
        ("Clips", f"{setting.num_clips} ({setting.num_skipped} too short)"),
        ("Horizon", f"{setting.horizon} frames from 1"),
        ("Frame rate", f"{setting.frame_hz:g} Hz (every {setting.stride} rows)"),
        ("Camera", setting.camera),
        ("Seeds", ", ".join(map(str, setting.seeds))),
        ("Temperature", f"{setting.temperature:g}"),
        ("Passes a frame", f"{setting.refinement_steps}"),
        ("World model", f"{setting.world_model_parameters:,} parameters"),
        ("Tokenizer", f"{setting.tokenizer_parameters:,} parameters"),
        ("Commit", setting.commit),
        ("Machine", setting.machine),
        ("Number format", setting.number_format),
        ("Versions", setting.versions),
        ("Measured", f"{setting.date}, in {setting.duration_s:.0f} s"),
    )
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
