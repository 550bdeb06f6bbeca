"""Objectives: the inputs of training, prompts and decoding, and the losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.core.seeding import generator_for
from roboscape.tokenizer.codes import MISSING, join_factors
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.losses import LossConfig, LossTerm, Targets, loss_terms
from roboscape.world_model.model import ModelInputs, WorldModel


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """The masking in training, and the disturbance of the frames before."""

    fully_masked: float = 0.5
    """Share of timesteps whose own frame is wholly masked (Eq. 2); others are refinement steps."""
    corruption: float = 0.1
    """Largest share of a clip's previous-frame tokens that another frame's stand in for."""
    self_predicted: float = 0.25
    """Share of steps whose previous frames are the model's own predictions (step forcing)."""
    self_predicted_after: int = 200
    """First step at which that may happen: predictions must be worth something."""
    self_predicted_passes: int = 1
    """Most passes that predict them; such a step draws how many. After k passes the past of every
    frame is what k imagined frames lead to; with a pass for every frame of a clip, a rollout."""
    missing_view: float = 0.1
    """Share of clips that lack one of several views from their first frame up to a random one."""
    task_dropped: float = 0.1
    """Share of clips without their task's text, where there are tasks: a model can do without."""

    def __post_init__(self) -> None:
        """Raise `UserError` for shares outside [0, 1]."""
        shares = (
            self.fully_masked,
            self.corruption,
            self.self_predicted,
            self.missing_view,
            self.task_dropped,
        )
        if not all(0 <= share <= 1 for share in shares):
            raise UserError(f"shares must lie in [0, 1], got {self}")
        if self.self_predicted_passes < 1:
            raise UserError(
                f"expected self_predicted_passes >= 1, got {self.self_predicted_passes}"
            )


class Objective(ABC):
    """The inputs and the targets of a timestep, in training and in rollouts.

    `controls[:, t]` led into frame t; the first is ignored where nothing was before.
    """

    needs_clean_pass: ClassVar[bool]
    """Whether a decoded frame must be read once more, nothing masked, for later ones to see it."""

    @abstractmethod
    def training_inputs(
        self,
        tokens: Int[Tensor, "m b t n"],
        controls: Float[Tensor, "b t c"],
        *,
        masking: MaskingConfig,
        generator: torch.Generator,
    ) -> ModelInputs:
        """Inputs to learn from, at random partly masked and disturbed."""

    @abstractmethod
    def validation_inputs(
        self, tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]
    ) -> ModelInputs:
        """Inputs that are the same at every validation, with true frames before."""

    @abstractmethod
    def prompt_inputs(
        self, prompt: Int[Tensor, "m b p n"], controls: Float[Tensor, "b p c"]
    ) -> ModelInputs | None:
        """Inputs that fill a rollout's cache with its prompt; None where there is nothing to do."""

    @abstractmethod
    def decoding_inputs(
        self,
        *,
        last: Int[Tensor, "m b n"],
        current: Int[Tensor, "m b n"],
        masked: Bool[Tensor, "m b n"],
        control: Float[Tensor, "b c"],
    ) -> ModelInputs:
        """The single timestep of a frame that is being decoded, `last` the frame before."""

    def self_predicts(
        self, step: int, *, masking: MaskingConfig, generator: torch.Generator
    ) -> bool:
        """True if the model predicts the previous frames of this step itself (step forcing)."""
        return False

    def loss_terms(self, targets: Targets, config: LossConfig) -> dict[str, LossTerm]:
        """The terms of Eq. 8 over the tokens that are masked."""
        return loss_terms(targets, config)


class NextFrame(Objective):
    """Eq. 2 itself: a timestep reads the frame before its own and predicts its own.

    Some timesteps see a part of their own frame too, as in MaskGIT's refinement passes.
    """

    needs_clean_pass = False

    def training_inputs(
        self,
        tokens: Int[Tensor, "m b t n"],
        controls: Float[Tensor, "b t c"],
        *,
        masking: MaskingConfig,
        generator: torch.Generator,
    ) -> ModelInputs:
        """Previous frames partly replaced, own frames partly revealed."""
        inputs = next_frame_inputs(tokens, controls)
        inputs = corrupted_inputs(inputs, largest_rate=masking.corruption, generator=generator)
        return revealed_inputs(inputs, fully_masked=masking.fully_masked, generator=generator)

    def validation_inputs(
        self, tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]
    ) -> ModelInputs:
        """True previous frames, own frames masked."""
        return next_frame_inputs(tokens, controls)

    def prompt_inputs(
        self, prompt: Int[Tensor, "m b p n"], controls: Float[Tensor, "b p c"]
    ) -> ModelInputs | None:
        """A timestep for every frame after the first, as if each had been decoded in one pass."""
        return next_frame_inputs(prompt, controls) if prompt.shape[2] > 1 else None

    def decoding_inputs(
        self,
        *,
        last: Int[Tensor, "m b n"],
        current: Int[Tensor, "m b n"],
        masked: Bool[Tensor, "m b n"],
        control: Float[Tensor, "b c"],
    ) -> ModelInputs:
        """The last frame, and what is decided of the new one."""
        inputs = single_inputs(current, masked=masked, control=control)
        return replace(inputs, previous=rearrange(last, "m b n -> m b 1 n"))

    def self_predicts(
        self, step: int, *, masking: MaskingConfig, generator: torch.Generator
    ) -> bool:
        """Draw it; always one draw, whatever the step."""
        chance = torch.rand((), generator=generator).item()
        return chance < masking.self_predicted and step >= masking.self_predicted_after


class PlainMasked(Objective):
    """The plain masked objective (Genie): a timestep reads its own frame, partly masked."""

    needs_clean_pass = True

    def training_inputs(
        self,
        tokens: Int[Tensor, "m b t n"],
        controls: Float[Tensor, "b t c"],
        *,
        masking: MaskingConfig,
        generator: torch.Generator,
    ) -> ModelInputs:
        """Some clean frames, the later ones masked; `masking` is not read."""
        return masked_inputs(tokens, controls, generator=generator)

    def validation_inputs(
        self, tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]
    ) -> ModelInputs:
        """One fixed masking."""
        return masked_inputs(tokens, controls, generator=generator_for(0))

    def prompt_inputs(
        self, prompt: Int[Tensor, "m b p n"], controls: Float[Tensor, "b p c"]
    ) -> ModelInputs | None:
        """Every frame, nothing masked."""
        return ModelInputs(
            previous=None,
            current=prompt,
            masked=torch.zeros_like(prompt, dtype=torch.bool),
            controls=torch.cat([torch.zeros_like(controls[:, :1]), controls[:, 1:]], dim=1),
        )

    def decoding_inputs(
        self,
        *,
        last: Int[Tensor, "m b n"],
        current: Int[Tensor, "m b n"],
        masked: Bool[Tensor, "m b n"],
        control: Float[Tensor, "b c"],
    ) -> ModelInputs:
        """The inputs of the new frame from its decided tokens; the last frame is in the cache."""
        return single_inputs(current, masked=masked, control=control)


def objective_of(config: WorldModelConfig) -> Objective:
    """The objective that a model's configuration names."""
    return {"next_frame": NextFrame, "masked": PlainMasked}[config.objective]()


def next_frame_inputs(
    tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]
) -> ModelInputs:
    """A timestep for every frame after the first, all of its own tokens masked (Eq. 2).

    Tokens that do not exist (`MISSING`) are not to be predicted.
    """
    known = tokens != MISSING
    return ModelInputs(
        previous=tokens[:, :, :-1],
        current=torch.where(known, tokens, 0)[:, :, 1:],
        masked=known[:, :, 1:],
        controls=controls[:, 1:],
    )


def single_inputs(
    current: Int[Tensor, "m b n"], *, masked: Bool[Tensor, "m b n"], control: Float[Tensor, "b c"]
) -> ModelInputs:
    """Inputs of one timestep, without a previous frame."""
    return ModelInputs(
        previous=None,
        current=rearrange(current, "m b n -> m b 1 n"),
        masked=rearrange(masked, "m b n -> m b 1 n"),
        controls=rearrange(control, "b c -> b 1 c"),
    )


def revealed_inputs(
    inputs: ModelInputs, *, fully_masked: float, generator: torch.Generator
) -> ModelInputs:
    """Reveal a random part of some frames, at a cosine-distributed rate (MaskGIT, section 3.2)."""
    m, b, t, n = inputs.masked.shape
    rates = masking_rates((b, t), generator=generator)
    whole = torch.rand(b, t, generator=generator) < fully_masked
    rates = torch.where(whole, 1.0, rates)
    masked = draw_masked(rates, modalities=m, tokens=n, generator=generator)
    return replace(inputs, masked=masked.to(inputs.masked.device) & inputs.masked)


def corrupted_inputs(
    inputs: ModelInputs, *, largest_rate: float, generator: torch.Generator
) -> ModelInputs:
    """Replace some previous-frame tokens by those at the same place in another frame of the batch.

    A mistake that the model could make itself, unlike a random one of 2^V codes. The other frame
    is one of another clip, or an earlier one of the same: nothing of a clip's future is shown.
    """
    assert inputs.previous is not None
    m, b, t, n = inputs.previous.shape
    rate = rearrange(largest_rate * torch.rand(b, generator=generator), "b -> b 1 1")
    wrong = torch.rand(m, b, t, n, generator=generator) < rate
    source = replacement_frames(b, t, generator=generator).to(inputs.previous.device)
    frames = rearrange(inputs.previous, "m b t n -> m (b t) n")
    other = rearrange(frames[:, source], "m (b t) n -> m b t n", b=b)
    # What is missing stays so, and never stands in for something else.
    wrong = wrong.to(inputs.previous.device) & (inputs.previous != MISSING) & (other != MISSING)
    return replace(inputs, previous=torch.where(wrong, other, inputs.previous))


def without_views(
    inputs: ModelInputs, *, cameras: int, share: float, generator: torch.Generator
) -> ModelInputs:
    """Hide one view of some clips from their first frame up to a random one.

    So a rollout may begin without one of its views, and learns to fill it in from the others.
    """
    assert inputs.previous is not None
    _, b, t, n = inputs.previous.shape
    chosen = torch.rand(b, generator=generator) < share
    view = torch.randint(cameras, (b,), generator=generator)
    end = torch.randint(1, t + 1, (b,), generator=generator)
    of_view = rearrange(torch.arange(n) // (n // cameras), "n -> 1 n") == view.unsqueeze(1)
    hidden = rearrange(of_view & chosen.unsqueeze(1), "b n -> b 1 n")
    hidden = hidden & rearrange(torch.arange(t) < end.unsqueeze(1), "b t -> b t 1")
    hidden = hidden.to(inputs.previous.device)
    return replace(inputs, previous=inputs.previous.masked_fill(hidden, MISSING))


def replacement_frames(
    clips: int, frames: int, *, generator: torch.Generator
) -> Int[Tensor, " bt"]:
    """For every frame of every clip, one of other clips or of its own past, by number.

    The first frame of a single clip has none, and stands for itself.
    """
    clip, frame = torch.arange(clips).unsqueeze(1), torch.arange(frames)
    others = (clips - 1) * frames
    drawn = (torch.rand(clips, frames, generator=generator) * (others + frame)).long()
    # The frames of all clips but one, as if that one's were not there.
    elsewhere = drawn + frames * (drawn >= clip * frames)
    own_past = clip * frames + drawn - others
    return torch.where(drawn < others, elsewhere, own_past).flatten()


@torch.no_grad()
def self_predicted_inputs(model: WorldModel, inputs: ModelInputs) -> ModelInputs:
    """Previous frames as the model predicts them from those given (step forcing, RoboWorld).

    One pass gives them for all timesteps; the first frame, a rollout's prompt, stays true. Made
    again from what the pass before gave, they are one more prediction away from true frames: after
    k passes the first k frames are those of a rollout, later ones what k imagined frames lead to.
    """
    assert inputs.previous is not None
    predictions = torch.stack(
        [
            join_factors(
                model.frame_logits(features, modality=modality).argmax(dim=-1),
                code_bits=model.config.code_bits,
            )
            for modality, features in enumerate(model.features(inputs))
        ]
    ).to(inputs.previous.dtype)
    predictions = torch.where(inputs.masked, predictions, inputs.current)
    previous = torch.cat([inputs.previous[:, :, :1], predictions[:, :, :-1]], dim=2)
    return replace(inputs, previous=previous)


def masked_inputs(
    tokens: Int[Tensor, "m b t n"],
    controls: Float[Tensor, "b t c"],
    *,
    generator: torch.Generator,
) -> ModelInputs:
    """A timestep for every frame: the first ones clean, the later ones partly masked."""
    m, b, t, n = tokens.shape
    prompt = torch.randint(1, t, (b, 1), generator=generator)
    later: Bool[Tensor, "b t"] = torch.arange(t) >= prompt
    rates = masking_rates((b, t), generator=generator)
    masked = draw_masked(rates, modalities=m, tokens=n, generator=generator)
    masked &= rearrange(later, "b t -> b t 1")
    known = tokens != MISSING
    return ModelInputs(
        previous=None,
        current=torch.where(known, tokens, 0),
        masked=masked.to(tokens.device) & known,
        controls=controls,
    )


def masking_rates(shape: tuple[int, int], *, generator: torch.Generator) -> Float[Tensor, "b t"]:
    """Cosine-distributed shares of masked tokens (MaskGIT, section 3.2)."""
    return (torch.rand(shape, generator=generator) * torch.pi / 2).cos()


def draw_masked(
    rates: Float[Tensor, "b t"], *, modalities: int, tokens: int, generator: torch.Generator
) -> Bool[Tensor, "m b t n"]:
    """Mask every token with its frame's probability, and at least one a frame."""
    draws = torch.rand(modalities, *rates.shape, tokens, generator=generator)
    lowest = draws.amin(dim=-1, keepdim=True)
    return draws <= torch.maximum(rearrange(rates, "b t -> b t 1"), lowest)
