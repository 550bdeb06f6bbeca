"""The share of the given frame that stays in a world model's beliefs, fitted on validation.

A model of few recordings is surer of motion than it ought to be: shown alone, its belief is farther
from the truth than a still picture. Mixed with the belief that a token is still the given frame's,
by a share that validation chooses, it is not: the share 0 is among those tried, and a large one
is the still picture. Chosen tokens, and so everything that is imagined later, stay the same.
"""

import copy
from dataclasses import dataclass, replace

from roboscape.clips.reader import Place
from roboscape.core.errors import UserError
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imaginings import ImaginedClips, Imaginings
from roboscape.rollout.train_decoder import mean_psnr
from roboscape.tokenizer.model import SoftCodes, Tokenizer

SHARES = tuple(number / 20 for number in range(11))
"""Those that are tried: 0 to .5; from there on a decoder shows the given frame alone."""
CLIPS = 64
"""At most so many validation clips, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """A fitted share and what it is worth."""

    share: float
    psnr_db: float
    """Of imagined RGB of the validation clips, mean over frames."""
    without_db: float
    """The same with the share 0."""


def fit_persistence(imaginings: Imaginings) -> Persistence:
    """The share of `SHARES` with which imagined RGB is nearest to the truth.

    Args:
        imaginings: Of validation episodes, by a bundle without persistence whose decoder reads
            beliefs and the given frame.

    Raises:
        UserError: another bundle.
    """
    tokenizer = imaginings.bundle.tokenizer
    if not reads_persistence(tokenizer) or imaginings.bundle.world_model.config.persistence:
        raise UserError(
            "expected a bundle without persistence whose decoder reads beliefs and the given "
            "frame; `roboscape train decoder` teaches one"
        )
    clips, *_ = imaginings.imagine(spread(imaginings))
    scores = {
        share: mean_psnr(tokenizer, clips, clips.codes, mixed_beliefs(tokenizer, clips, share))
        for share in SHARES
    }
    best = max(SHARES, key=lambda share: scores[share])
    return Persistence(share=best, psnr_db=scores[best], without_db=scores[0.0])


def reads_persistence(tokenizer: Tokenizer) -> bool:
    """Whether a decoder is shown beliefs and the given frame, so that a share of it can be seen."""
    return tokenizer.config.soft_codes and tokenizer.config.given_frame


def spread(imaginings: Imaginings) -> list[Place]:
    """Some of the places from which whole clips begin, evenly spread over all of them."""
    reader = imaginings.reader
    places = list(reader.places("validation", every=reader.stride))
    step = max(1, -(-len(places) // CLIPS))
    return places[::step]


def mixed_beliefs(tokenizer: Tokenizer, clips: ImaginedClips, share: float) -> SoftCodes:
    """Beliefs of clips that were made without persistence, with this share of it."""
    given = clips.given_codes.unsqueeze(1).expand_as(clips.codes)
    return clips.soft.toward(given, share, code_bits=tokenizer.config.code_bits)


def with_persistence(bundle: Bundle, share: float) -> Bundle:
    """The same bundle, which believes by this share that tokens are still the given frame's."""
    model = copy.deepcopy(bundle.world_model)
    model.config = replace(model.config, persistence=share)
    return replace(bundle, world_model=model)
