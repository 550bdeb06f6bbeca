import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

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


def taught_elsewhere(parts, tiny_bundle, tmp_path, part):
    """The parts with a tokenizer of which one weight, of its encoder or decoder, differs."""
    other = copy.deepcopy(tiny_bundle.tokenizer)
    parameter = next(getattr(other, part).parameters())
    with torch.no_grad():
        parameter.add_(0.5)
    other.save_pretrained(tmp_path / "other")
    return replace(parts, tokenizer=tmp_path / "other")


def test_another_decoder_reads_the_same_codes(parts, tiny_bundle, tmp_path):
    packed = run(taught_elsewhere(parts, tiny_bundle, tmp_path, "decoder"))
    assert not torch.equal(
        packed.tokenizer.decoder.position, tiny_bundle.tokenizer.decoder.position
    )


def test_a_tokenizer_of_other_codes_is_refused(parts, tiny_bundle, tmp_path):
    with pytest.raises(ValueError, match="another tokenizer"):
        run(taught_elsewhere(parts, tiny_bundle, tmp_path, "encoder"))
