import importlib
import re
import shlex
from pathlib import Path

import pytest

from roboscape.cli import command_in, main, parse

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| (.+?) \|.*?\| (.+?) \|$", (ROOT / "docs" / "paper-to-code.md").read_text(), re.MULTILINE
)
NAMED = [
    (place, name)
    for place, code in ROWS
    for name in re.findall(r"`(roboscape[\w.]+:[\w.]+)`", code)
]


@pytest.mark.parametrize(("place", "name"), NAMED)
def test_every_equation_is_where_the_map_says(place, name):
    module, path = name.split(":")
    found = importlib.import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    number = re.match(r"Eq\. (\d)", place)
    source = Path(importlib.import_module(module).__file__).read_text()
    assert found.__doc__
    if number:
        assert re.search(rf"Eq\. ?{number[1]}\b", source), f"{module} does not cite {place}"


def test_all_equations_are_mapped():
    assert {f"Eq. {i}" for i in range(1, 9)} <= {place for place, _ in NAMED}


def documented_commands() -> list[str]:
    """Every roboscape command line of the README's and the docs' code blocks, and the recipes'."""
    lines = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
        lines += [part for block in blocks for part in re.split(r"\n|&&", block)]
    for recipe in sorted((ROOT / "recipes").glob("*.sh")):
        script = recipe.read_text().replace("\\\n", " ")
        lines += re.findall(r"\$roboscape .+?(?=;|\n)", script)
    spelled = [line.strip().removeprefix("$") for line in lines]
    return [line.split("  #")[0] for line in spelled if line.startswith("roboscape ")]


@pytest.mark.slow
def test_measuring_a_model_of_ones_own_takes_30_lines_that_run(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "evaluate-your-model.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    line = "collect lift --output data/lift_validation --episodes 4 --seed 800000 --workers 2"
    main(shlex.split(line))
    capsys.readouterr()
    exec(compile(block, "docs/evaluate-your-model.md", "exec"), {"__name__": "page"})
    (shown,) = re.findall(r"```\n( +still picture.*?)\n```", page, re.DOTALL)
    printed = capsys.readouterr().out
    words = [
        [re.split(r"\s{2,}", line)[0] for line in t.strip().splitlines()] for t in (printed, shown)
    ]
    assert words[0] == words[1]
    psnr = printed.splitlines()[1].split()
    still, fade, ours, ceiling = (float(value) for value in psnr[-4:])
    assert fade < still + 1 < ours < ceiling
    delta = next(line for line in printed.splitlines() if "another episode" in line).split()
    assert delta[-3] == "0.00" and float(delta[-2]) > 3


@pytest.mark.parametrize("line", documented_commands())
def test_every_documented_command_parses(line):
    for variable in ("episodes", "held_out", "numbers", "places", "first"):
        line = line.replace(f'"${variable}"', "1")
    line = line.replace("$split", "train")
    words = shlex.split(line)[1:]
    name = command_in(words)
    assert name, line
    assert parse(name, words[len(name.split()) :]) is not None
