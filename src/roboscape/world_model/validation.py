"""The quality and the size of a model."""

from jaxtyping import Float, Int
from torch import Tensor

from roboscape.tokenizer.codes import MISSING, split_factors
from roboscape.world_model.losses import accuracy, factor_losses
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import objective_of

NAMES = ("rgb", "depth")


def validate(
    model: WorldModel, tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]
) -> dict[str, float]:
    """Loss per factor and token accuracy of one-step predictions from true pasts.

    `copy` is the accuracy of repeating the previous frame, the floor that a model must beat. There
    are no figures of depth where no clip has any.
    """
    inputs = objective_of(model.config).validation_inputs(tokens, controls)
    figures: dict[str, float] = {}
    for modality, features in enumerate(model.features(inputs)):
        name, masked = NAMES[modality], inputs.masked[modality]
        if not masked.any():
            continue
        codes = inputs.current[modality][masked]
        groups = split_factors(
            codes, code_bits=model.config.code_bits, factors=model.config.factors
        )
        logits = model.frame_logits(features, modality=modality)[masked]
        losses = factor_losses(logits, groups).mean(dim=0)
        figures[f"{name}_loss"] = losses.sum().item()
        figures |= {f"{name}_loss_factor{f}": loss.item() for f, loss in enumerate(losses)}
        figures[f"{name}_accuracy"] = accuracy(logits, groups).item()
        copied = (tokens[modality, :, :-1] == tokens[modality, :, 1:])[
            tokens[modality, :, 1:] != MISSING
        ]
        figures[f"{name}_copy_accuracy"] = copied.float().mean().item()
    return figures


def describe(model: WorldModel, *, batch_size: int) -> list[str]:
    """Parameters, tokens a step, and an estimate of the memory that training takes."""
    config, counts = model.config, model.parameter_counts()
    frames = batch_size * config.window
    tokens = frames * config.tokens_per_frame * config.modalities
    return [
        f"world model: {counts['one branch'] / 1e6:.1f}M parameters in one branch, "
        f"{counts['total'] / 1e6:.1f}M in all",
        f"a step: {batch_size} clips x {config.window} frames x {config.tokens_per_frame} tokens x "
        f"{config.modalities} branches = {tokens} tokens",
        f"memory: about {memory_bytes(model, batch_size=batch_size) / 2**30:.1f} GiB",
    ]


def memory_bytes(model: WorldModel, *, batch_size: int) -> int:
    """Estimate for training in bf16: weights, gradients, average, optimiser and activations."""
    config = model.config
    states = 5 * 4 * model.parameter_counts()["total"]
    patches = batch_size * config.window * config.patches_per_frame * config.modalities
    # Bytes that a block keeps for the backward pass, per patch: residuals and norms in fp32,
    # twice q, k, v, the mixed values and the hidden layer before and after the GELU in bf16, and
    # the attention weights.
    stream = config.width * (6 * 4 + 2 * (2 * 5 + 2 * config.mlp_ratio + 3))
    weights = 2 * 2 * config.heads * (config.patches_per_frame + config.window)
    return states + patches * config.num_layers * (stream + weights)
