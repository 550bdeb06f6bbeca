"""The model learns a law of motion from tokens and actions, and from them alone."""

import torch

from roboscape.core.seeding import generator_for
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.keypoints import select_keypoints
from roboscape.world_model.losses import LossConfig, Predictions, Targets, loss_terms, total_loss
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import next_frame_inputs, revealed_inputs
from roboscape.world_model.validation import validate

CELLS = 6
CONFIG = WorldModelConfig(
    control_size=1, num_layers=2, width=32, heads=2, code_bits=4, grid=(1, CELLS), max_frames=5
)


def moving_blob(batch, *, generator):
    """A token that goes left or right as the action says, on a ring; depth has its own codes."""
    frames = CONFIG.max_frames
    controls = torch.randint(2, (batch, frames), generator=generator) * 2 - 1
    controls[:, 0] = 0
    start = torch.randint(CELLS, (batch, 1), generator=generator)
    cell = (start + controls.cumsum(dim=1)) % CELLS
    blob = torch.nn.functional.one_hot(cell, CELLS).bool()
    tokens = torch.stack([torch.where(blob, 13, 2), torch.where(blob, 6, 9)]).int()
    tracks = torch.stack([cell + 0.5, torch.full(cell.shape, 0.5)], dim=-1).unsqueeze(2)
    visible = torch.ones(batch, frames, 1, dtype=torch.bool)
    return tokens, controls.float().unsqueeze(-1), tracks, visible


def test_learns_a_moving_blob_from_its_actions():
    torch.manual_seed(0)
    model = WorldModel(CONFIG)
    optimizer = make_optimizer(
        model,
        config=OptimizerConfig(learning_rate=3e-3, muon_learning_rate=0.02),
        tables=model.tables(),
        precision="fp32",
    )
    optimizer.set_rate(1.0)
    loss_config = LossConfig(keypoints=1)
    for step in range(100):
        generator = generator_for(0, step)
        tokens, controls, tracks, visible = moving_blob(16, generator=generator)
        inputs = revealed_inputs(
            next_frame_inputs(tokens, controls), fully_masked=0.5, generator=generator
        )
        keypoints = select_keypoints(tracks, visible, count=1, grid=CONFIG.grid)
        targets = Targets(inputs=inputs, first=tokens[0, :, 0].long(), keypoints=keypoints)
        predictions = Predictions(model, inputs)
        terms = loss_terms(targets, loss_config)
        means = {name: term.sum(predictions) / term.count for name, term in terms.items()}
        optimizer.zero_grad()
        total_loss(means, loss_config).backward()
        optimizer.step()
    tokens, controls, *_ = moving_blob(64, generator=generator_for(1))
    figures = validate(model.eval(), tokens, controls)
    assert figures["rgb_copy_accuracy"] < 0.8
    assert figures["rgb_accuracy"] > 0.98, figures
    assert figures["depth_accuracy"] > 0.9, figures
    wrong_way = validate(model, tokens, -controls)
    assert wrong_way["rgb_accuracy"] < 0.8
