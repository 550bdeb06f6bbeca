"""The tokens that a compact policy reads in place of pixels, and the tokenizer beside it."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8

from roboscape.core.errors import UserError
from roboscape.policies.compact.config import TokensRead
from roboscape.policies.compact.model import CompactPolicyNetwork, TokenEye
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.passes import through
from roboscape.tokens.state_reader import StateReader
from roboscape.tokens.weights import loaded_encoder_sha256

TOKENIZER = "tokenizer"
"""Folder of the tokenizer in a training run and in a trained policy."""


def tokens_read(tokenizer: Tokenizer | None, *, image_size: int) -> TokensRead:
    """What a policy reads of the tokens of a tokenizer; without one it reads pixels.

    Raises:
        ValueError: the tokenizer is for images of another size.
    """
    if tokenizer is None:
        return TokensRead()
    config = tokenizer.config
    if config.image_size != image_size:
        raise UserError(
            f"the tokenizer takes images of {config.image_size} pixels, and these have "
            f"{image_size}; take a tokenizer of this size"
        )
    side = config.tokens_per_side
    return TokensRead(
        encoder_sha256=loaded_encoder_sha256(tokenizer),
        grid=(side, side),
        code_bits=config.code_bits,
    )


def kept_tokenizer(folder: Path, tokens: TokensRead) -> Tokenizer | None:
    """The tokenizer in the folder of a run or policy that reads these tokens; None for pixels.

    Raises:
        ValueError: there is none, or its encoder makes other tokens.
    """
    if not tokens.encoder_sha256:
        return None
    tokenizer = Tokenizer.from_pretrained(folder, subfolder=TOKENIZER)
    if (found := loaded_encoder_sha256(tokenizer)) != tokens.encoder_sha256:
        raise UserError(
            f"the policy in {folder} reads tokens of encoder {tokens.encoder_sha256[:12]}, and "
            f"{folder / TOKENIZER} holds {found[:12]}; put back the tokenizer that it was trained "
            "with"
        )
    return tokenizer


def check_reader(reader: StateReader, tokens: TokensRead) -> None:
    """Refuse a reader whose features are of other tokens than a policy's.

    Raises:
        ValueError: another encoder's, or of another grid.
    """
    config = reader.config
    if (config.encoder_sha256, config.grid) != (tokens.encoder_sha256, tokens.grid):
        raise UserError(
            f"the reader reads {config.grid} tokens of encoder {config.encoder_sha256[:12]}, and "
            f"the policy {tokens.grid} of {tokens.encoder_sha256[:12]}; take a reader of one "
            "camera that was trained on this tokenizer's tokens"
        )


def begin_as(network: CompactPolicyNetwork, reader: StateReader) -> None:
    """Let the features of every camera begin as those of a reader that is shown no depth."""
    weights = reader.state_dict()
    # Depth comes after RGB; tokens that are missing are zeros, so nothing of it is needed.
    weights["embed.weight"] = weights["embed.weight"][:, : network.config.tokens.code_bits]
    for eye in network.eyes:
        assert isinstance(eye, TokenEye)
        own = eye.read.state_dict()
        eye.read.load_state_dict({name: weights[name] for name in own})


@torch.no_grad()
def encoded(tokenizer: Tokenizer, rgb: UInt8[np.ndarray, "*b h w 3"]) -> Int[np.ndarray, "*b y x"]:
    """Tokens of RGB frames of one camera."""
    flat = torch.from_numpy(rgb.reshape(-1, *rgb.shape[-3:]))
    codes = through(tokenizer.encode_rgb, flat, tokenizer)
    side = tokenizer.config.tokens_per_side
    return rearrange(codes, "n (y x) -> n y x", y=side).numpy().reshape(*rgb.shape[:-3], side, side)
