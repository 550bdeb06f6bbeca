from pathlib import Path

import pytest

from roboscape.rollout.pack import Pack, run
from roboscape.tokens import build


@pytest.fixture
def parts(tiny_bundle, lift_train_dataset, tmp_path, monkeypatch):
    """A package that bundles the tiny models, and tokens that were made with them."""
    monkeypatch.setattr("roboscape.core.pretrained.BUNDLED", tmp_path / "package")
    tiny_bundle.save_pretrained(tmp_path / "package" / "tiny")
    build.run(
        build.Tokenize(
            datasets=(lift_train_dataset.root,),
            tokenizer="tiny/tokenizer",
            output=tmp_path / "tokens",
            tracks="none",
            stride=2,
            length=6,
        )
    )
    return Pack(
        tokenizer=Path("tiny/tokenizer"),
        world_model=Path("tiny/world_model"),
        tokens=tmp_path / "tokens",
        output=tmp_path / "packed",
    )


def test_parts_of_a_bundled_model_are_packed_by_their_names(parts, tiny_bundle):
    packed = run(parts)
    assert packed.tokenizer.config == tiny_bundle.tokenizer.config
    assert packed.world_model.config == tiny_bundle.world_model.config
