from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.rollout import train_decoder
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imaginings import Imaginings, Shape
from roboscape.rollout.train_decoder import (
    DecoderRun,
    StudentConfig,
    batch_of,
    make_evaluation,
    run,
    to_teach,
)
from roboscape.tokenizer.decoder import GivenView
from roboscape.tokenizer.model import Tokenizer, rgb_to_image
from roboscape.tokens.augment import Augmentation
from roboscape.training.loop import read_metrics
from roboscape.training.optimizer import OptimizerConfig


@pytest.fixture
def checkpoint(tiny_bundle, tmp_path):
    torch.manual_seed(0)
    config = replace(tiny_bundle.tokenizer.config, given_frame=True)
    bundle = replace(tiny_bundle, tokenizer=Tokenizer(config).eval())
    bundle.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def config(checkpoint, lift_train_dataset, lift_validation_dataset, tmp_path):
    base = DecoderRun(
        checkpoint=str(checkpoint),
        dataset=lift_train_dataset.root,
        validation=lift_validation_dataset.root,
        output=tmp_path / "run",
        horizon=4,
        clips=3,
        reuse=2,
        batch_size=4,
        validation_clips=2,
        precision="fp32",
        device="cpu",
        optimizer=OptimizerConfig(warmup_steps=1, learning_rate=3e-3),
    )
    fit = replace(base.fit, steps=4, log_every=1, evaluate_every=4, checkpoint_every=2)
    return replace(base, fit=fit)


def test_the_decoder_learns_to_read_beliefs_and_no_code_changes(config, checkpoint):
    fit = replace(config.fit, steps=60, log_every=10, evaluate_every=60, average_decay=0.8)
    bundle = Bundle.from_pretrained(checkpoint)
    before = bundle.tokenizer
    untaught = Imaginings.of(
        bundle, config.validation, split="validation", shape=Shape(horizon=config.horizon)
    ).first(config.validation_clips)
    start = make_evaluation(untaught)(to_teach(before))
    taught = run(replace(config, fit=fit, believed=1.0))
    end = read_metrics(config.output / "metrics.jsonl")[-1]
    for name in ("rgb", "depth"):
        assert end[f"validation_believed_{name}_psnr"] > start[f"believed_{name}_psnr"] + 1
    saved = Tokenizer.from_pretrained(config.output / "tokenizer")
    assert saved.config.soft_codes
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(saved.encode(images), before.encode(images))
    codes = before.encode(images)
    assert torch.equal(saved.decode(codes), taught.decode(codes))
    assert not torch.equal(saved.decode(codes), before.decode(codes))


def test_teaching_in_bf16_begins_with_the_weights_as_they_are(config, checkpoint):
    before = Tokenizer.from_pretrained(checkpoint / "tokenizer").state_dict()
    still = replace(config.optimizer, learning_rate=0.0, muon_learning_rate=0.0)
    after = run(replace(config, precision="bf16", optimizer=still)).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.fixture
def teacher(config):
    """The checkpoint with a decoder of two blocks that reads beliefs, written over it."""
    torch.manual_seed(1)
    bundle = Bundle.from_pretrained(config.checkpoint)
    shape = replace(bundle.tokenizer.config, convolution_blocks=2, soft_codes=True)
    tokenizer = Tokenizer(shape)
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    replace(bundle, tokenizer=tokenizer.eval()).save_pretrained(Path(config.checkpoint))
    return Tokenizer.from_pretrained(f"{config.checkpoint}/tokenizer")


def pictures(tokenizer):
    """What a decoder shows of random beliefs."""
    generator = torch.Generator().manual_seed(0)
    tokens = tokenizer.config.tokens_per_frame
    vectors = torch.rand(6, tokens, 18, generator=generator) * 2 - 1
    view = GivenView(
        images=torch.rand(6, 3, 64, 64, generator=generator) * 2 - 1,
        unchanged=torch.rand(6, tokens, generator=generator),
    )
    with torch.no_grad():
        return tokenizer.decoded(vectors, view)


def test_a_student_of_fewer_blocks_begins_as_its_teacher_without_the_others(teacher):
    with torch.no_grad():
        teacher.decoder.convolutions[1].second.weight.zero_()
        teacher.decoder.convolutions[1].second.bias.zero_()
    student = to_teach(teacher, StudentConfig(convolution_blocks=1))
    assert len(student.decoder.convolutions) == len(teacher.decoder.convolutions) - 1
    assert torch.equal(pictures(student), pictures(teacher))


def test_a_narrower_student_begins_with_the_first_channels(teacher):
    student = to_teach(teacher, StudentConfig(convolution_width=4)).decoder
    assert torch.equal(student.blocks[0].expand.weight, teacher.decoder.blocks[0].expand.weight)
    # Rows of one channel follow each other, one for each of its 4 x 4 places.
    assert torch.equal(student.enlarge[1].weight, teacher.decoder.enlarge[1].weight[: 4 * 16])
    for own, known in zip(student.convolutions[:2], teacher.decoder.convolutions[:2], strict=True):
        assert torch.equal(own.first.weight, known.first.weight[:4, :4])
    assert torch.equal(
        student.convolutions[3].weight, teacher.decoder.convolutions[3].weight[:, :4]
    )


def test_a_student_learns_what_its_teacher_shows_and_no_code_changes(config, teacher):
    student = StudentConfig(convolution_width=4, convolution_blocks=1, teacher_share=1.0)
    fit = replace(config.fit, steps=60, log_every=1, evaluate_every=60, average_decay=0.8)
    # True tokens without a given frame: all is painted.
    taught = run(replace(config, fit=fit, student=student, believed=0.0, blind=1.0))
    saved = Tokenizer.from_pretrained(config.output / "tokenizer")
    assert (saved.config.convolution_width, saved.config.convolution_blocks) == (4, 1)
    assert torch.equal(pictures(saved), pictures(taught))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(saved.encode(images), teacher.encode(images))
    before, after = teacher.encoder.state_dict(), saved.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # The teacher is random, so the truth would lead elsewhere.
    lines = [line for line in read_metrics(config.output / "metrics.jsonl") if "squared" in line]
    assert lines[-1]["squared_to_teacher"] < 0.5 * lines[0]["squared_to_teacher"]
    assert lines[-1]["squared_to_teacher"] < 0.2 * lines[-1]["squared"]


@pytest.mark.parametrize("sizes", [{"convolution_width": 9}, {"convolution_blocks": 0}])
def test_a_student_of_other_sizes_than_its_teacher_has_is_refused(config, teacher, sizes):
    with pytest.raises(ValueError, match="must lie between 1 and the teacher's"):
        run(replace(config, student=StudentConfig(**sizes)))
    with pytest.raises(ValueError, match=r"teacher_share must lie in \[0, 1\]"):
        StudentConfig(teacher_share=1.5)


def test_a_decoder_that_reads_no_beliefs_teaches_nobody(config):
    with pytest.raises(ValueError, match="without --student first"):
        run(replace(config, student=StudentConfig(convolution_blocks=1)))


def test_four_steps_equal_two_and_two(config, monkeypatch):
    whole = run(config).state_dict()
    halves = replace(config, output=config.output.with_name("halves"))
    make_step = train_decoder.make_step

    def interrupted(*args, **kwargs):
        step = make_step(*args, **kwargs)

        def stop_at_two(number):
            if number == 2:
                raise RuntimeError("killed")
            return step(number)

        return stop_at_two

    with monkeypatch.context() as patched:
        patched.setattr(train_decoder, "make_step", interrupted)
        with pytest.raises(RuntimeError, match="killed"):
            run(halves)
    resumed = run(halves).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_what_is_learnt_from_is_what_the_world_model_imagines(config):
    bundle = Bundle.from_pretrained(config.checkpoint)
    found = Imaginings.of(bundle, config.dataset, split="train", shape=Shape(horizon=4))
    rgb, depth = found.imagine(found.places[:2])
    assert rgb.truth.shape == (2, 4, 3, 64, 64) and depth.truth.shape == rgb.truth.shape
    assert torch.equal(bundle.tokenizer.encode(rgb.truth[1]), rgb.true_codes[1])
    assert torch.equal(bundle.tokenizer.encode(depth.given), depth.given_codes)
    # Signs of the mean code vectors of a sure model are its codes; beliefs are probabilities.
    assert ((rgb.soft.unchanged >= 0) & (rgb.soft.unchanged <= 1)).all()
    truth, vectors, _, unchanged = batch_of(
        rgb, torch.tensor([[1, 2]]).numpy(), believed=False, code_bits=18
    )
    assert torch.equal(truth[0], rgb.truth[1, 2])
    assert set(vectors.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(unchanged[0], (rgb.true_codes[1, 2] == rgb.given_codes[1]).float())
    _, vectors, given, unchanged = batch_of(
        rgb, torch.tensor([[0, 3]]).numpy(), believed=True, code_bits=18
    )
    assert torch.equal(vectors[0], rgb.soft.vectors[0, 3])
    assert torch.equal(unchanged[0], rgb.soft.unchanged[0, 3])
    assert torch.equal(given[0], rgb.given[0])


def test_a_share_of_clips_is_imagined_from_other_crops_and_colours(config):
    bundle = Bundle.from_pretrained(config.checkpoint)
    found = Imaginings.of(bundle, config.dataset, split="train", shape=Shape(horizon=4))
    place = (3, 5, 1)
    plain, all_altered, some = (
        found.drawn(6, coordinates=place, augmented=share) for share in (0.0, 1.0, 0.5)
    )
    chosen = np.random.default_rng(np.random.SeedSequence(place)).integers(
        len(found.places), size=6
    )
    kinds = set()
    for number, index in enumerate(chosen):
        clip = found.reader.read(found.places[index].episode, found.places[index].row)
        altered = Augmentation.draw(*place, number, 0).apply(clip, "front")
        for one, expected in ((plain, clip), (all_altered, altered)):
            rgb, depth = one
            truth = rgb_to_image(torch.from_numpy(expected.frames["front"]))
            assert torch.equal(rgb.truth[number], truth[1:])
            metres = torch.from_numpy(expected.depth_m["front"])
            assert torch.equal(depth.truth[number], bundle.tokenizer.depth_to_image(metres)[1:])
            # What is imagined begins from what is shown.
            assert torch.equal(rgb.given_codes[number], bundle.tokenizer.encode(truth[:1])[0])
        same = [
            torch.equal(some[0].truth[number], one[0].truth[number]) for one in (plain, all_altered)
        ]
        assert sum(same) == 1
        kinds.add(same[0])
    assert kinds == {True, False}


def test_augmented_clips_are_refused_where_an_arm_model_reads_objects_off_frames(config):
    with pytest.raises(ValueError, match="read off frames, and an augmented clip"):
        run(replace(config, checkpoint="lift", augmented=0.5))
    assert not config.output.exists()
    with pytest.raises(ValueError, match="augmented is a share"):
        replace(config, augmented=1.5)


def test_a_decoder_that_takes_no_given_frame_is_refused(config, tiny_bundle, tmp_path):
    tiny_bundle.save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="takes no given frame"):
        run(replace(config, checkpoint=str(tmp_path / "plain")))


def test_recordings_that_are_too_short_are_refused(config):
    with pytest.raises(ValueError, match="lower --horizon"):
        run(replace(config, horizon=40))
