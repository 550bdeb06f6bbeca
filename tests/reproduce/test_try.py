import pytest
from dataclasses import replace
from roboscape.reproduce import table2
from roboscape.reproduce.table2 import Table2


def test_try(flags, base):
    path = table2.run(
        Table2(study=replace(flags, only=("full", "none", "only_depth", "no_depth"))), base=base
    )
    print(path.with_suffix(".md").read_text())
    print(list(path.parent.rglob("*.json")))
