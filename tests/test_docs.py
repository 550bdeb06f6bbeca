import importlib
import re
import shlex
from pathlib import Path

import pytest

from roboscape.cli import command_in, parse

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


@pytest.mark.parametrize("line", documented_commands())
def test_every_documented_command_parses(line):
    line = line.replace('"$episodes"', "1").replace('"$held_out"', "1").replace("$split", "train")
    words = shlex.split(line)[1:]
    name = command_in(words)
    assert name, line
    assert parse(name, words[len(name.split()) :]) is not None
