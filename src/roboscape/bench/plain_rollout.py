"""Imagining without a cache: every pass of every frame runs all frames of the clip."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.bench.plain import PlainWorldModel
from roboscape.rollout.sampling import Choice, choose, hidden_after, hide_least_confident
from roboscape.world_model.model import ModelInputs
from roboscape.world_model.objective import next_frame_inputs


class PlainImagination:
    """A greedy rollout from one frame, as `Imagination`, up to the end of a clip."""

    def __init__(
        self,
        model: PlainWorldModel,
        *,
        prompt: Int[Tensor, "m b 1 n"],
        refinement_steps: int = 1,
    ) -> None:
        if model.config.objective != "next_frame":
            raise ValueError("the plain rollout is written for the objective `next_frame`")
        self.model, self.refinement_steps = model, refinement_steps
        config = model.config
        m, b, _, n = prompt.shape
        later = torch.zeros(m, b, config.max_frames - 1, n, dtype=torch.int32, device=prompt.device)
        self.clip: Int[Tensor, "m b t n"] = torch.cat([prompt.int(), later], dim=2)
        size = (b, config.max_frames, config.control_size)
        self.controls: Float[Tensor, "b t c"] = torch.zeros(size, device=prompt.device)
        self.frame = 0

    @torch.no_grad()
    def step(self, control: Float[Tensor, "b c"]) -> Int[Tensor, "m b n"]:
        """Codes of the next frame; after the last of the clip the first is imagined again."""
        self.frame = self.frame % (self.model.config.max_frames - 1) + 1
        self.controls[:, self.frame] = control
        hidden = torch.ones_like(self.clip[:, :, 0], dtype=torch.bool)
        choices = self.predict(hidden)
        for number in range(1, self.refinement_steps):
            count = hidden_after(number - 1, steps=self.refinement_steps, tokens=hidden.shape[-1])
            hidden = torch.stack(
                [
                    hide_least_confident(choice.confidence, hidden=mask, count=count)
                    for choice, mask in zip(choices, hidden, strict=True)
                ]
            )
            self.clip[:, :, self.frame] = torch.stack([choice.codes for choice in choices])
            refined = self.predict(hidden)
            choices = [
                new.where(mask, old)
                for new, mask, old in zip(refined, hidden, choices, strict=True)
            ]
        self.clip[:, :, self.frame] = torch.stack([choice.codes for choice in choices])
        return self.clip[:, :, self.frame]

    def predict(self, hidden: Bool[Tensor, "m b n"]) -> list[Choice]:
        """One pass over all rows; the tokens of the frame under way."""
        row = self.frame - 1
        rows = next_frame_inputs(self.clip, self.controls)
        masks = rows.masked.clone()
        masks[:, :, row] = hidden
        known = ModelInputs(
            previous=rows.previous, current=rows.current, masked=masks, controls=rows.controls
        )
        bits = self.model.config.code_bits
        return [
            choose(logits[:, row], given=given, code_bits=bits, temperature=0.0)
            for logits, given in zip(self.model(known), self.clip[:, :, 0], strict=True)
        ]
