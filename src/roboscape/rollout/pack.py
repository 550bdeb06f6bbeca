"""`roboscape bundle`: put a tokenizer and a world model together for release."""

import logging
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.pretrained import halve_weights, resolve
from roboscape.rollout.bundle import TOKENIZER, WORLD_MODEL, Bundle
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader
from roboscape.tokens.store import TokenStore
from roboscape.tokens.weights import encoder_sha256, weights_sha256
from roboscape.world_model.model import WorldModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Write a bundle: everything that a rollout needs, in one folder."""

    tokenizer: Path
    """Folder of the tokenizer, or `lift/tokenizer`, which comes with the package."""
    world_model: Path
    """Folder of the world model."""
    tokens: Path
    """Token store that the world model was trained on: it knows how control signals are made."""
    output: Path
    """Folder of the bundle."""
    state_reader: Path | None = None
    """Folder of a state reader (`roboscape train state-reader`), if the bundle is to have one."""
    half: bool = True
    """Keep weights as 16-bit floats, half the size; the encoder's, which make the codes, exact."""


def run(config: Pack) -> Bundle:
    """Check that the parts belong together and write them.

    Raises:
        ValueError: the store was made with another tokenizer.
    """
    store = TokenStore(config.tokens)
    tokenizer = resolve(config.tokenizer)
    found, made_with = weights_sha256(tokenizer), store.config
    same_codes = encoder_sha256(tokenizer) == made_with.encoder_sha256
    if found != made_with.tokenizer_sha256 and not same_codes:
        raise UserError(
            f"{config.tokens} was made with another tokenizer (weights "
            f"{made_with.tokenizer_sha256[:12]}) than {config.tokenizer} ({found[:12]}); "
            "pass the tokenizer of the store, or one that differs in its decoder alone"
        )
    bundle = Bundle(
        tokenizer=Tokenizer.from_pretrained(config.tokenizer),
        world_model=WorldModel.from_pretrained(config.world_model),
        controls=store.controls,
        state_reader=None
        if config.state_reader is None
        else StateReader.from_pretrained(config.state_reader),
        object_reader=store.object_reader,
    )
    bundle.save_pretrained(config.output)
    if config.half:
        halve_weights(config.output / TOKENIZER, keep=("encoder.",))
        halve_weights(config.output / WORLD_MODEL)
    log.info("wrote %s", config.output)
    return Bundle.from_pretrained(config.output)
