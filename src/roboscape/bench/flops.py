"""The number of floating-point operations of the mathematics, whatever the code does.

Matrix products alone, a multiply and an add each, as `torch.utils.flop_counter` counts them.
"""

from roboscape.world_model.config import WorldModelConfig


def forward_flops(
    config: WorldModelConfig, *, rows: int, batch: int = 1, visible_rows: int | None = None
) -> float:
    """FLOPs of one pass over `rows` rows of `batch` clips, logits of every token included.

    Args:
        config: Shape of the model.
        rows: Rows computed.
        batch: Clips or rollouts.
        visible_rows: Rows that temporal attention scores for each; by default all of the pass.
    """
    width, positions = config.width, config.patches_per_frame
    keys = rows if visible_rows is None else visible_rows
    projections = 2 * 4 * width**2 * 2 + 2 * 2 * config.mlp_ratio * width**2
    attention = 4 * width * (positions + keys)
    outputs = config.factor_size + config.copy_previous
    head = 2 * width * config.tokens_per_patch * config.factors * outputs
    field = 2 * config.control_field * (config.control_field + width)
    branch = config.num_layers * (projections + attention) + field + head
    injected = config.inject_depth and config.modalities == 2
    injections = config.num_layers * 2 * width**2 if injected else 0
    per_row = positions * (config.modalities * branch + injections)
    return float(batch * rows * (per_row + config.modalities * control_flops(config)))


def control_flops(config: WorldModelConfig) -> int:
    """FLOPs of one branch's reading of one control signal."""
    return 2 * config.control_size * (config.width + config.control_field)


def training_flops(config: WorldModelConfig, *, rows: int, batch: int = 1) -> float:
    """FLOPs of a forward and backward pass: the gradients cost the forward pass twice.

    The control signals need no gradient.
    """
    spared = batch * rows * config.modalities * control_flops(config)
    return 3 * forward_flops(config, rows=rows, batch=batch) - spared


def frame_flops(config: WorldModelConfig, *, passes: int = 1, batch: int = 1) -> float:
    """FLOPs of one imagined frame once the window is full: `passes` passes over one row."""
    once = forward_flops(config, rows=1, batch=batch, visible_rows=config.window)
    clean = config.objective == "masked"
    return (passes + clean) * once


def plain_frame_flops(config: WorldModelConfig, *, passes: int, batch: int = 1) -> float:
    """FLOPs of one imagined frame without a cache: every pass runs all rows of the clip."""
    return passes * forward_flops(config, rows=config.window, batch=batch)
