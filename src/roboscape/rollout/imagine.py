"""Imagining: frame after frame from a prompt and controls, one row of the model at a time.

A new frame costs `refinement_steps` passes over one frame's tokens, whatever the horizon: past
rows live in the cache. The pass that predicts a frame with everything hidden (Eq. 2) has also
written its row's keys and values; refinement passes read them and leave no trace.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.rollout.cuda_graphs import RecordedPasses, record_cuda_graph
from roboscape.rollout.sampling import Choice, choose, hidden_after, hide_least_confident
from roboscape.world_model.cache import Cache, Turn
from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.objective import objective_of


@dataclass(frozen=True, kw_only=True)
class ImaginedFrame:
    """One imagined frame of a batch. Axes: b rollout, n token, v code bit."""

    rgb_codes: Int[Tensor, "b n"]
    rgb_code_vectors: Float[Tensor, "b n v"]
    """Expected codes in [-1, 1]: decoding them shows doubt as blur."""
    confidence: Float[Tensor, "b n"]
    """Probability of every chosen RGB token."""
    depth_codes: Int[Tensor, "b n"] | None = None
    """None where the model has no depth branch."""
    depth_code_vectors: Float[Tensor, "b n v"] | None = None


def imagine(
    model: WorldModel,
    *,
    rgb: Int[Tensor, "b p n"],
    depth: Int[Tensor, "b p n"] | None,
    controls: Float[Tensor, "b t c"],
    temperature: float = 0.0,
    refinement_steps: int = 1,
    generator: torch.Generator | None = None,
) -> Iterator[ImaginedFrame]:
    """Yield frames p, p + 1, ... t - 1 after a prompt of p true frames (Eq. 1).

    Args:
        model: In evaluation mode, on any device.
        rgb: Codes of the prompt.
        depth: Codes of its depth; not read by a model without depth branch.
        controls: Normalised control signals; row t led into frame t, row 0 is ignored.
        temperature: Divides the logits; 0 takes the likeliest token.
        refinement_steps: Passes a frame; more than one reveals the most confident tokens first.
        generator: Where a temperature's randomness comes from.

    Raises:
        ValueError: shapes that do not fit the model, at the call.
    """
    imagination = Imagination(
        model,
        rgb=rgb,
        depth=depth,
        controls=controls[:, : rgb.shape[1]],
        temperature=temperature,
        refinement_steps=refinement_steps,
        generator=generator,
    )
    return (imagination.step(control) for control in controls[:, rgb.shape[1] :].unbind(dim=1))


class Imagination:
    """A rollout under way: give it a control, get the next frame."""

    def __init__(
        self,
        model: WorldModel,
        *,
        rgb: Int[Tensor, "b p n"],
        depth: Int[Tensor, "b p n"] | None,
        controls: Float[Tensor, "b p c"],
        temperature: float = 0.0,
        refinement_steps: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        """Read the prompt in one pass; `controls` are those that led into its frames."""
        self.model, self.objective = model, objective_of(model.config)
        self.temperature, self.refinement_steps = temperature, refinement_steps
        self.generator = generator
        prompt = stack_prompt(model, rgb=rgb, depth=depth)
        check_prompt(model, prompt, controls=controls)
        if temperature < 0 or refinement_steps < 1:
            raise ValueError(
                f"expected temperature >= 0 and refinement_steps >= 1, got {temperature} and "
                f"{refinement_steps}"
            )
        self.cache = Cache(
            model.config, batch=len(rgb), device=rgb.device, dtype=cache_dtype(model, rgb.device)
        )
        recordable = rgb.is_cuda and model.config.time_position == "rotary"
        self.recorded = (
            RecordedPasses(model, self.cache, record=record_cuda_graph) if recordable else None
        )
        self.last: Int[Tensor, "m b n"] = prompt[:, :, -1]
        self.read_prompt(prompt, controls=controls)

    @torch.no_grad()
    def read_prompt(
        self, prompt: Int[Tensor, "m b p n"], *, controls: Float[Tensor, "b p c"]
    ) -> None:
        """Fill the cache with the prompt's rows, exactly as if they had been imagined so."""
        inputs = self.objective.prompt_inputs(prompt, controls)
        if inputs is not None:
            self.model.features(inputs, cache=self.cache)

    @torch.no_grad()
    def step(self, control: Float[Tensor, "b c"]) -> ImaginedFrame:
        """Imagine the frame that `control` leads into."""
        hidden = torch.ones_like(self.last, dtype=torch.bool)
        choices = self.predict(torch.zeros_like(self.last), hidden, control=control, turn="next")
        for number in range(1, self.refinement_steps):
            count = hidden_after(number - 1, steps=self.refinement_steps, tokens=hidden.shape[-1])
            hidden = torch.stack(
                [
                    hide_least_confident(choice.confidence, hidden=mask, count=count)
                    for choice, mask in zip(choices, hidden, strict=True)
                ]
            )
            known = torch.stack([choice.codes for choice in choices])
            refined = self.predict(known, hidden, control=control, turn="again")
            choices = [
                new.where(mask, old)
                for new, mask, old in zip(refined, hidden, choices, strict=True)
            ]
        return self.finish(choices, control=control)

    def predict(
        self,
        current: Int[Tensor, "m b n"],
        hidden: Bool[Tensor, "m b n"],
        *,
        control: Float[Tensor, "b c"],
        turn: Turn,
    ) -> list[Choice]:
        """One pass over one row: choose all its tokens, given those not hidden."""
        features = self.features(self.row(current, hidden, control=control), turn=turn)
        return [
            choose(
                rearrange(self.model.frame_logits(x, modality=modality), "b 1 n f s -> b n f s"),
                code_bits=self.model.config.code_bits,
                temperature=self.temperature,
                generator=self.generator,
            )
            for modality, x in enumerate(features)
        ]

    def features(self, row: ModelInputs, *, turn: Turn) -> tuple[Float[Tensor, "b 1 p d"], ...]:
        """What the heads read of a single row."""
        if self.recorded is not None:
            return self.recorded.features(row, turn=turn)
        return self.model.features(row, cache=self.cache, turn=turn)

    def row(
        self,
        current: Int[Tensor, "m b n"],
        hidden: Bool[Tensor, "m b n"],
        *,
        control: Float[Tensor, "b c"],
    ) -> ModelInputs:
        """The input row of the frame under way."""
        return self.objective.decoding_inputs(
            last=self.last, current=current, masked=hidden, control=control
        )

    def finish(self, choices: list[Choice], *, control: Float[Tensor, "b c"]) -> ImaginedFrame:
        """Take the chosen tokens as the newest frame."""
        self.last = torch.stack([choice.codes for choice in choices])
        if self.objective.needs_clean_pass:
            # Here a row's keys and values belong to its own tokens: write the clean ones.
            known = torch.zeros_like(self.last, dtype=torch.bool)
            clean = self.row(self.last, known, control=control)
            self.features(clean, turn="replace")
        depth = choices[DEPTH] if len(choices) > 1 else None
        return ImaginedFrame(
            rgb_codes=choices[RGB].codes,
            rgb_code_vectors=choices[RGB].code_vectors,
            confidence=choices[RGB].confidence,
            depth_codes=depth.codes if depth else None,
            depth_code_vectors=depth.code_vectors if depth else None,
        )


def cache_dtype(model: WorldModel, device: torch.device) -> torch.dtype:
    """The format of keys and values: that of the hidden layers, but fp32 on CPUs.

    There a single row's many tiny products are twice as slow in bf16 (`docs/decisions.md`).
    """
    return torch.float32 if device.type == "cpu" else model.hidden_dtype


def stack_prompt(
    model: WorldModel, *, rgb: Int[Tensor, "b p n"], depth: Int[Tensor, "b p n"] | None
) -> Int[Tensor, "m b p n"]:
    """The prompt's codes, one entry of axis m a branch."""
    if model.config.modalities == 1:
        return rgb.unsqueeze(0)
    if depth is None:
        raise ValueError(
            "this model imagines depth too and needs the prompt's depth codes; encode its depth, "
            "or use a model with branches `rgb`"
        )
    return torch.stack([rgb, depth])


def check_prompt(
    model: WorldModel, prompt: Int[Tensor, "m b p n"], *, controls: Float[Tensor, "b p c"]
) -> None:
    """Refuse a prompt or controls of other sizes than the model's."""
    config = model.config
    _, batch, frames, tokens = prompt.shape
    if frames < 1 or tokens != config.tokens_per_frame:
        raise ValueError(
            f"expected a prompt of at least one frame of {config.tokens_per_frame} tokens, got "
            f"{frames} frames of {tokens}"
        )
    if len(controls) != batch:
        raise ValueError(f"got prompts of {batch} rollouts and controls of {len(controls)}")
    if controls.shape[1] < frames or controls.shape[2] != config.control_size:
        raise ValueError(
            f"expected {config.control_size} control numbers for each of {frames} prompt frames, "
            f"got {tuple(controls.shape[1:])}; control_signals makes them from actions"
        )
