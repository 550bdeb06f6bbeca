"""What is believed is mixed with the given frame by the share that validation asks for."""

from dataclasses import replace

import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imaginings import Imaginings, Shape
from roboscape.rollout.persistence import SHARES, fit_persistence, mixed_beliefs, with_persistence
from roboscape.rollout.sampling import choose
from roboscape.rollout.train_decoder import mean_psnr
from roboscape.tokenizer.codes import MISSING, code_to_vectors
from roboscape.tokenizer.model import Tokenizer


@pytest.fixture
def bundle(tiny_bundle):
    torch.manual_seed(0)
    config = replace(tiny_bundle.tokenizer.config, given_frame=True, soft_codes=True)
    return replace(
        tiny_bundle, tokenizer=Tokenizer(config).eval().requires_grad_(requires_grad=False)
    )


def imaginings(bundle, dataset, horizon=4):
    return Imaginings.of(bundle, dataset.root, split="validation", shape=Shape(horizon=horizon))


def test_a_belief_is_the_mixture_of_the_models_and_of_no_change():
    logits = torch.randn(2, 5, 2, 4)
    given = torch.randint(0, 16, (2, 5), dtype=torch.int)
    given[0, 0] = MISSING
    plain, mixed = (
        choose(logits, given=given, code_bits=4, temperature=0.0, persistence=share)
        for share in (0.0, 0.25)
    )
    assert torch.equal(plain.codes, mixed.codes), "tokens are chosen without it"
    known = given != MISSING
    same = (plain.codes == given).float()
    vectors = code_to_vectors(given.clamp(min=0), code_bits=4)
    for found, own, unchanged in (
        (mixed.soft.unchanged, plain.soft.unchanged, torch.ones(())),
        (mixed.confidence, plain.confidence, same),
        (mixed.soft.vectors, plain.soft.vectors, vectors),
    ):
        share = 0.25 * known.float()
        share = share.unsqueeze(-1) if found.ndim == 3 else share
        torch.testing.assert_close(found, (1 - share) * own + share * unchanged)
    assert torch.equal(mixed.soft.vectors[0, 0], plain.soft.vectors[0, 0])


def test_the_share_is_the_one_that_validation_likes_best(bundle, lift_validation_dataset):
    found = fit_persistence(imaginings(bundle, lift_validation_dataset))
    held_out = imaginings(bundle, lift_validation_dataset)
    clips, *_ = held_out.imagine(
        list(held_out.reader.places("validation", every=held_out.reader.stride))
    )
    scores = {
        share: mean_psnr(
            bundle.tokenizer, clips, clips.codes, mixed_beliefs(bundle.tokenizer, clips, share)
        )
        for share in SHARES
    }
    assert found.share == max(scores, key=scores.__getitem__)
    assert found.psnr_db == pytest.approx(max(scores.values()), abs=1e-4)
    assert found.psnr_db >= found.without_db == pytest.approx(scores[0.0], abs=1e-4)


def test_what_was_fitted_is_what_the_bundle_imagines(bundle, lift_validation_dataset, tmp_path):
    mixed = with_persistence(bundle, 0.3)
    assert bundle.world_model.config.persistence == 0.0
    mixed.save_pretrained(tmp_path / "bundle")
    loaded = Bundle.from_pretrained(tmp_path / "bundle")
    plain, shown = (
        imaginings(one, lift_validation_dataset).first(1)[0] for one in (bundle, loaded)
    )
    assert torch.equal(plain.codes, shown.codes)
    expected = plain.soft.toward(
        plain.given_codes.unsqueeze(1).expand_as(plain.codes),
        0.3,
        code_bits=bundle.tokenizer.config.code_bits,
    )
    torch.testing.assert_close(shown.soft.vectors, expected.vectors)
    torch.testing.assert_close(shown.soft.unchanged, expected.unchanged)


def test_a_bundle_that_shows_nothing_of_it_is_refused(bundle, lift_validation_dataset):
    config = replace(bundle.tokenizer.config, soft_codes=False)
    blind = replace(bundle, tokenizer=Tokenizer(config).eval())
    for wrong in (blind, with_persistence(bundle, 0.2)):
        with pytest.raises(UserError, match="without persistence whose decoder reads beliefs"):
            fit_persistence(imaginings(wrong, lift_validation_dataset))
    with pytest.raises(UserError, match=r"persistence must lie in \[0, 1\), got 1"):
        with_persistence(bundle, 1.0)
