"""Wrong labels are made beside the data, and reach the tokens that they belong to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.annotate.perturb.depth import DepthErrors
from roboscape.annotate.perturb.tracks import TrackErrors
from roboscape.reproduce import noise
from roboscape.reproduce.labels import TRUE, Labels, labelled_dataset
from roboscape.reproduce.noise import LABELS, Noise, noise_variants
from roboscape.reproduce.setup import Tokens
from roboscape.rollout.bundle import Bundle

KINDS = {
    "biased": Labels(depth=DepthErrors(scale=0.15)),
    "drifting": Labels(tracks=TrackErrors(drift_px=8.0)),
    "lucas_kanade": Labels(tracker="lucas_kanade"),
}


@pytest.fixture
def shards(flags, checkpoint):
    """Columns of the token stores, by labels."""
    tokens = Tokens(
        flags=flags, bundle=Bundle.from_pretrained(checkpoint), camera="front", frames=6
    )
    return {
        name: {path.stem: np.load(path) for path in (tokens.of(name, labels)).glob("shard_*/*.npy")}
        for name, labels in ({"true": TRUE} | KINDS).items()
    }


def everything(folder: Path):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_labels_change_their_own_tokens_and_no_others(shards, recordings):
    true = shards["true"]
    for name, changed in (
        ("biased", {"depth"}),
        ("drifting", {"tracks", "visible"}),
        ("lucas_kanade", {"tracks", "visible"}),
    ):
        different = {
            column for column in true if not np.array_equal(true[column], shards[name][column])
        }
        assert different & {"rgb", "depth", "actions", "state"} == changed & {"depth"}
        assert ("tracks" in different) == ("tracks" in changed)


def test_the_dataset_itself_stays_as_it_is(recordings, tmp_path):
    train, _ = recordings
    before = everything(train)
    for name, labels in KINDS.items():
        view = labelled_dataset(train, tmp_path, name=name, labels=labels, camera="front")
        assert (view / "annotations").is_dir() and not (view / "annotations").is_symlink()
    assert everything(train) == before


def test_the_given_frame_has_the_errors_of_the_training_labels(flags, base, shards):
    from roboscape.reproduce.setup import StudyPlan, open_study

    plan = StudyPlan(name="noise", flags=flags, variants=noise_variants(), labels=KINDS, base=base)
    study = open_study(plan)
    assert study.given_errors == {"biased": DepthErrors(scale=0.15)}
    measure = study.measure()
    batch = measure.batches[0]
    wrong = measure._wrong(batch, DepthErrors(scale=0.15))
    error = np.abs(wrong.depth_m / batch.given.depth_m - 1)
    assert error == pytest.approx(np.full_like(error, 0.15), abs=1e-5)
    assert np.array_equal(wrong.rgb, batch.given.rgb)


def test_the_study_reports_what_is_left_of_the_gain(flags, base):
    only = ("full", "no_depth", "bias_15")
    page = noise.run(Noise(study=replace(flags, seeds=1, only=only)), base=base)
    text = page.with_suffix(".md").read_text()
    assert "bias_15 − full" in text and "bias_15 − no_depth" in text
    assert "| bias_15 | depth wrong by a factor an episode, AbsRel 0.15 |" in text
    assert len(list(page.parent.glob("runs/*/*.json"))) == 3
    assert not (page.parent / "tokens" / "flicker_05").exists()


def test_two_sources_of_tracks_are_refused():
    with pytest.raises(ValueError, match="not both"):
        Labels(tracks=TrackErrors(lost=0.1), tracker="lucas_kanade")
    assert {labels.perturbed for labels in LABELS.values()} == {True, False}
