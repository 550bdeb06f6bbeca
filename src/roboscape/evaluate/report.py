"""The report: one HTML page that holds everything it shows and asks the network for nothing."""

from base64 import b64encode
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from roboscape.core.files import atomic_path
from roboscape.evaluate.charts import SUBJECT_NAMES, line_chart, range_bar
from roboscape.evaluate.examples import Example
from roboscape.evaluate.headline import measured
from roboscape.evaluate.panels import join_columns, make_columns, write_film
from roboscape.evaluate.results import ClipRecord, Results, Setting
from roboscape.evaluate.tables import number, tables
from roboscape.evaluate.tasks import TaskCounts, TaskResult

REPORT = "report.html"
FILM_SCALE = 2
FILM_GAP_PX = 12
CEILING = (
    " <em>Ceiling</em>: the true video through the tokenizer, which is what a model scores that "
    "predicts every token right. It is a guide, not a bound: where the tokenizer errs, another "
    "guess may be nearer to the truth."
)
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


def write_report(results: Results, examples: tuple[Example, ...], folder: Path) -> Path:
    """Write `report.html` and `videos/*.mp4` into a folder; returns the page's path."""
    pieces = files("roboscape.evaluate")
    films = [film(example, results.setting, folder / "videos") for example in examples]
    page = Template(pieces.joinpath("report.html").read_text()).substitute(
        style=pieces.joinpath("report.css").read_text(),
        title=escape(f"Evaluation of {results.setting.subject}"),
        headline=escape(headline(results)),
        lede=escape(lede(results)),
        warning=warning(results.setting) + commands(results.setting),
        tiles=tiles(results),
        films="\n".join(films),
        tables=tables(results.rows),
        legend=legend(),
        charts=charts(results),
        ceiling=CEILING if results.row("psnr").ceiling else "",
        tasks=task_sections(results),
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
    start = f"{seconds:.1f} seconds predicted from one frame"
    if row.model is None or row.static is None:
        return f"{start}."
    gain = row.model.estimate.mean - row.static.estimate.mean
    side = "above" if gain >= 0 else "below"
    return f"{start}, PSNR {abs(gain):.1f} dB {side} a still picture."


def lede(results: Results) -> str:
    """A summary of the evaluation, in three sentences."""
    setting = results.setting
    size = f" ({setting.parameters / 1e6:.1f} million parameters)" if setting.parameters else ""
    given = ["the first frame (RGB and depth)" if setting.given_depth else "the first frame (RGB)"]
    if setting.state_size:
        given.append(
            f"the robot's state in that frame, as recorded ({numbers(setting.state_size)})"
        )
    return (
        f"{setting.what}, {setting.horizon} predicted frames each at "
        f"{setting.frame_hz:g} Hz. The model `{setting.subject}`{size} is given "
        f"{', '.join(given)} and the robot's actions up to the last frame. It is given nothing "
        "else of the recording."
    )


def numbers(count: int) -> str:
    """So many numbers, in words."""
    return f"{count} number{'s' if count != 1 else ''}"


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


def commands(setting: Setting) -> str:
    """A note where the actions are no commands."""
    return f'<p class="warning">{escape(setting.commands)}</p>' if setting.commands else ""


def tiles(results: Results) -> str:
    """The few numbers that one looks at first."""
    parts = []
    for headline in measured(results):
        row = results.row(headline.key)
        if row.model is None or not headline.tile:
            continue
        below = range_bar(row) or f'<p class="say">{escape(row.name.protocol)}</p>'
        parts.append(tile(headline.tile, number(row, row.model), row.name.unit, below))
    for task in results.tasks:
        say = (
            f"of the predicted videos agree with the true ones: the {task.name.event} in both or "
            f"in neither. A still picture agrees in {task.static.agreement:.0%}"
        )
        value = f"{task.model.agreement:.0%}"
        parts.append(tile(task.name.title, value, "", f'<p class="say">{escape(say)}</p>'))
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
    columns = make_columns(example.truth, example.imagined, views=example.views)
    frames = join_columns(columns, scale=FILM_SCALE, gap_px=FILM_GAP_PX)
    record = example.record
    place = f"_row_{record.start:06d}" if record.start else ""
    path = folder / f"episode_{record.episode:06d}{place}.mp4"
    write_film(path, frames, fps=setting.frame_hz)
    data = b64encode(path.read_bytes()).decode()
    captions = "".join(f"<span>{escape(column.caption)}</span>" for column in columns)
    kind = "film failure" if example.is_failure else "film"
    return (
        f'<figure class="{kind}"><figcaption><span class="tag">{escape(example.label)}</span>'
        f'<span class="about">{about(record)}</span></figcaption>'
        f'<div style="{gaps(len(columns), frames.shape[2])}"><div class="columns">{captions}</div>'
        '<div class="stage"><video autoplay loop muted playsinline '
        f'src="data:video/mp4;base64,{data}"></video></div></div></figure>'
    )


def gaps(num_columns: int, width_px: int) -> str:
    """The places of the gaps between a film's columns, which the style sheet covers with paper."""
    column_px = (width_px - (num_columns - 1) * FILM_GAP_PX) / num_columns
    return (
        f"--columns:{num_columns};--column:{100 * column_px / width_px:.4f}%;"
        f"--gap:{100 * FILM_GAP_PX / width_px:.4f}%"
    )


def about(record: ClipRecord) -> str:
    """The text about one clip."""
    row = f", from row {record.start}" if record.start else ""
    parts = [f"episode {record.episode}{row}"]
    if record.behaviour:
        parts.append(record.behaviour.replace("_", " "))
    beside = f"still picture {record.static_psnr_db:.1f}"
    if record.ceiling_psnr_db is not None:
        beside += f", ceiling {record.ceiling_psnr_db:.1f}"
    parts.append(f"PSNR {record.psnr_db:.1f} dB ({beside})")
    return escape(" · ".join(parts))


def legend() -> str:
    """The legend of the colours."""
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


def task_sections(results: Results) -> str:
    """A section for every task metric, measured or not."""
    parts = [
        f"<section><h2>{escape(task.name.question)}</h2>{task_section(task, results.setting)}"
        "</section>"
        for task in results.tasks
    ]
    parts += [
        f'<section><h2>{escape(title)}</h2><p class="note">Not measured: {escape(reason)}.</p>'
        "</section>"
        for title, reason in results.tasks_missing.items()
    ]
    return "\n".join(parts)


def task_section(task: TaskResult, setting: Setting) -> str:
    """The counts, the floor, the rule, and how far the rule itself can be trusted."""
    name, model = task.name, task.model
    detector = "the recording itself says nothing to check it with"
    if task.detector_agreement is not None:
        detector = (
            "on the true videos it agrees with the simulator's reward in "
            f"{task.detector_agreement:.1%} of {setting.num_clips} clips"
        )
    ceiling = ""
    if task.ceiling is not None:
        ceiling = (
            f"; on the true videos through the tokenizer it still finds the same in "
            f"{task.ceiling.agreement:.1%}"
        )
    rule = "".join(f"<li>{escape(step)}</li>" for step in name.rule)
    return (
        f'<div class="cube">{matrix(task, model)}<div><p>Truth and prediction agree in '
        f"<strong>{model.agreement:.1%}</strong> of the clips that count. A still picture, in "
        f"which nothing ever happens, agrees in <strong>{task.static.agreement:.1%}</strong>.</p>"
        f"<p>In {model.unseen} predicted videos the {escape(name.item)} is lost (seen in less than "
        "half of the frames that show the true one): they count as unseen, not as agreement. Over "
        f"all clips, {model.visible:.1%} of the frames that show the true {escape(name.item)} also "
        f"show the predicted one. {task.undecided} clips do not count, because the rule and the "
        "recording disagree on their true videos.</p>"
        f"<p>The same rule reads both videos; {detector}{ceiling}:</p><ol>{rule}</ol></div></div>"
    )


def matrix(task: TaskResult, counts: TaskCounts) -> str:
    """A table of the number of clips by outcome."""
    event = escape(task.name.event)
    heads = (f"predicted: {event}", "predicted: does not", "predicted: unseen")
    cells = (
        ("right", counts.in_both, "in both"),
        ("wrong", counts.only_in_truth, "missed"),
        ("wrong", counts.only_in_shown, "invented"),
        ("right", counts.in_neither, "in neither"),
    )
    drawn = [
        f'<div class="cell {kind}{" some" if count else ""}"><strong>{count}</strong>{words}</div>'
        for kind, count, words in cells
    ]
    return (
        f'<div class="matrix"><span></span><span class="head">{heads[0]}</span>'
        f'<span class="head">{heads[1]}</span><span class="side">truth:<br>{event}</span>'
        f'{drawn[0]}{drawn[1]}<span class="side">truth:<br>does not</span>{drawn[2]}{drawn[3]}'
        f'<span class="side">{heads[2]}</span><div class="cell wide wrong'
        f'{" some" if counts.unseen else ""}"><strong>{counts.unseen}</strong>'
        f"{escape(task.name.item)} lost</div></div>"
    )


def facts(setting: Setting) -> str:
    """Everything needed to do it again."""
    given = [f"1 frame{' with depth' if setting.given_depth else ''}"]
    if setting.state_size:
        given.append(f"{numbers(setting.state_size)} of state")
    pairs = (
        ("Model", setting.subject),
        ("From", setting.checkpoint),
        *setting.facts.items(),
        ("Given", ", ".join([*given, "the actions"])),
        ("Dataset", setting.dataset),
        ("Split", f"{setting.split} (seeds {setting.first_seed} to {setting.last_seed})"),
        ("Clips", f"{setting.what} ({setting.num_skipped} too short)"),
        ("Horizon", f"{setting.horizon} frames from 1"),
        ("Frame rate", f"{setting.frame_hz:g} Hz (every {setting.stride} rows)"),
        ("Cameras, from top to bottom" if "," in setting.camera else "Camera", setting.camera),
        ("Seeds", ", ".join(map(str, setting.seeds))),
        ("Commit", setting.commit),
        ("Machine", setting.machine),
        ("Versions", setting.versions),
        ("Measured", f"{setting.date}, in {setting.duration_s:.0f} s"),
    )
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
