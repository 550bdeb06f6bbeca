import importlib
import re
from pathlib import Path

import pytest

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
