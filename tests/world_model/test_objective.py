"""The loss of a step against the equations written out over full logits, token by token."""

from dataclasses import replace

import pytest
import torch

from roboscape.tokenizer.codes import code_to_vectors, split_factors
from roboscape.world_model import losses
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.keypoints import Keypoints
from roboscape.world_model.losses import (
    LossConfig,
    Predictions,
    Targets,
    expected_codes,
    loss_terms,
    total_loss,
)
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs

CONFIG = WorldModelConfig(
    control_size=3, num_layers=1, width=16, heads=2, code_bits=6, grid=(2, 4), max_frames=4
)
LOSS = LossConfig(gamma=5.0, keypoints=2)


@pytest.fixture(params=[1, 2], ids=["one token a position", "2 x 2 tokens a position"])
def case(request):
    torch.manual_seed(0)
    model = WorldModel(replace(CONFIG, patch=request.param))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    tokens = torch.randint(64, (2, 2, 4, 8)).int()
    inputs = next_frame_inputs(tokens, torch.randn(2, 4, 3))
    inputs = replace(inputs, masked=torch.rand(inputs.masked.shape) < 0.6)
    valid = torch.rand(2, 4, 2) < 0.8
    valid &= valid[:, :1]
    cells = torch.where(valid, torch.randint(8, (2, 4, 2)), 0)
    return model, tokens, inputs, Keypoints(cells=cells, valid=valid)


def terms_of(case, config=LOSS):
    model, tokens, inputs, keypoints = case
    targets = Targets(inputs=inputs, first=tokens[0, :, 0].long(), keypoints=keypoints)
    predictions = Predictions(model, inputs)
    return {
        name: term.sum(predictions) / term.count.clamp(min=1)
        for name, term in loss_terms(targets, config).items()
    }


def minus_log_probability(logits, code):
    low, high = split_factors(code, code_bits=6)
    probabilities = logits.softmax(dim=-1)
    return -(probabilities[0, low] * probabilities[1, high]).log()


def test_terms_are_the_equations(case):
    model, tokens, inputs, keypoints = case
    logits = model(inputs)
    plain, weighted, distances = {0: [], 1: []}, [], []
    for modality, clip, timestep, token in inputs.masked.nonzero().tolist():
        loss = minus_log_probability(
            logits[modality][clip, timestep, token], tokens[modality, clip, timestep + 1, token]
        )
        plain[modality].append(loss)
        if modality == 0:
            on_track = keypoints.valid[clip, timestep + 1] & (
                keypoints.cells[clip, timestep + 1] == token
            )
            weighted.append(loss * (5 if on_track.any() else 1))
    for clip, timestep, k in keypoints.valid[:, 1:].nonzero().tolist():
        cell = keypoints.cells[clip, timestep + 1, k]
        if inputs.masked[0, clip, timestep, cell]:
            first = tokens[0, clip, 0, keypoints.cells[clip, 0, k]]
            gap = expected_codes(logits[0][clip, timestep, cell]) - code_to_vectors(
                first, code_bits=6
            )
            distances.append(gap.square().sum())
    terms = terms_of(case)
    torch.testing.assert_close(terms["rgb"], torch.stack(plain[0]).mean())
    torch.testing.assert_close(terms["depth"], torch.stack(plain[1]).mean())
    torch.testing.assert_close(terms["attention"], torch.stack(weighted).mean())
    torch.testing.assert_close(terms["keypoint"], torch.stack(distances).mean())


def test_chunks_change_nothing(case, monkeypatch):
    model, *_ = case

    def loss_and_gradient():
        model.zero_grad()
        loss = total_loss(terms_of(case), LOSS)
        loss.backward()
        return loss, model.branches[0].head.weight.grad.clone()

    whole = loss_and_gradient()
    monkeypatch.setattr(losses, "CHUNK", 7)
    for before, after in zip(whole, loss_and_gradient(), strict=True):
        torch.testing.assert_close(before, after)


def test_a_batch_without_keypoints_still_trains(case):
    model, tokens, inputs, keypoints = case
    nothing = replace(keypoints, valid=torch.zeros_like(keypoints.valid))
    terms = terms_of((model, tokens, inputs, nothing))
    assert terms["keypoint"] == 0
    torch.testing.assert_close(terms["attention"], terms["rgb"])
    total_loss(terms, LOSS).backward()


def test_switched_off_terms_are_not_there(case):
    terms = terms_of(case, LossConfig(depth=0.0, keypoint=0.0, attention=0.0))
    assert terms.keys() == {"rgb"}


def test_depth_learns_from_rgb_through_the_injection_alone(case):
    model, *_ = case
    config = LossConfig(depth=0.0)
    total_loss(terms_of(case, config), config).backward()
    assert model.branches[1].blocks[0].expand.weight.grad.abs().sum() > 0
    assert model.branches[1].head.weight.grad is None
