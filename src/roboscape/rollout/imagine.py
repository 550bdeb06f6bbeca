"""Imagining: frame after frame from a prompt and controls, one timestep of the model at a time.

A new frame costs `refinement_steps` passes over one frame's tokens, whatever the horizon: past
timesteps live in the cache. The pass that predicts a frame with everything hidden (Eq. 2) has also
written its timestep's keys and values; refinement passes read them and leave no trace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.core.seeding import generator_for, seed_for
from roboscape.rollout.cuda_graphs import Capture, CudaGraphPasses, capture_cuda_graph
from roboscape.rollout.newest import NewestFrames
from roboscape.rollout.sampling import (
    GREEDY,
    Choice,
    Sampling,
    choose,
    hidden_after,
    hide_least_confident,
)
from roboscape.tokenizer.model import SoftCodes
from roboscape.world_model.cache import Cache, Turn
from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.objective import objective_of


@dataclass(frozen=True, kw_only=True)
class ImaginedFrame:
    """One imagined frame of a batch. Axes: b rollout, n token, v code bit."""

    rgb_codes: Int[Tensor, "b n"]
    rgb_soft: SoftCodes
    """What the model believed of them: decoding that shows doubt as blur."""
    confidence: Float[Tensor, "b n"]
    """Probability of every chosen RGB token."""
    depth_codes: Int[Tensor, "b n"] | None = None
    """None where the model has no depth branch."""
    depth_soft: SoftCodes | None = None


def imagine(
    model: WorldModel,
    *,
    rgb: Int[Tensor, "b p n"],
    depth: Int[Tensor, "b p n"] | None,
    controls: Float[Tensor, "b t c"],
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> Iterator[ImaginedFrame]:
    """Yield frames p, p + 1, ... t - 1 after a prompt of p true frames (Eq. 1).

    Args:
        model: In evaluation mode, on any device.
        rgb: Codes of the prompt.
        depth: Codes of its depth; not read by a model without depth branch.
        controls: Normalised control signals; row t led into frame t, row 0 is ignored.
        sampling: How tokens are chosen.
        seed: Seed of the drawn tokens, at a temperature above 0.

    Raises:
        ValueError: shapes that do not fit the model, at the call.
    """
    imagination = Imagination(model, batch=len(rgb), sampling=sampling, seed=seed)
    imagination.reset(rgb=rgb, depth=depth, controls=controls[:, : rgb.shape[1]])
    return (imagination.step(control) for control in controls[:, rgb.shape[1] :].unbind(dim=1))


@dataclass(frozen=True, kw_only=True)
class WorldRandomness:
    """The source of a world's draws: a generator a frame, derived from these numbers alone."""

    seed: int
    """Of the world since its last reset."""
    draws: int = 0
    """Frames drawn since then."""
    resets: int = 0
    """Times that the world began anew, which seeds the next time."""

    def generator(self, device: str) -> torch.Generator:
        """Of the next frame; draws on a GPU differ from those on a CPU."""
        return generator_for(self.seed, self.draws, device=device)


@dataclass(frozen=True, kw_only=True)
class ImaginationState:
    """All that the futures of some worlds depend on."""

    cache: Cache
    newest: NewestFrames
    random: tuple[WorldRandomness, ...]
    begun: tuple[bool, ...]
    """Whether each world was ever reset."""


class Imagination:
    """A batch of imagined worlds: give them a prompt, then control after control.

    Each world has its own age, memory and randomness; what is done to one never touches another.
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        batch: int,
        sampling: Sampling = GREEDY,
        seed: int = 0,
        capture: Capture | None = None,
    ) -> None:
        """Make room for worlds; `reset` begins them.

        Args:
            model: In evaluation mode, on any device.
            batch: Number of worlds.
            sampling: How tokens are chosen.
            seed: Of all that is drawn; a world's draws depend on it, on the world's number and on
                how often the world was reset.
            capture: How passes over one timestep are captured; a CUDA graph on a GPU, and not at
                all on a CPU, where not given.
        """
        if batch < 1 or sampling.temperature < 0 or sampling.refinement_steps < 1:
            raise UserError(
                f"expected at least one world, temperature >= 0 and refinement_steps >= 1, got "
                f"{batch} worlds and {sampling}"
            )
        self.model, self.sampling, self.seed = model, sampling, seed
        self.objective = objective_of(model.config)
        self.device = next(model.parameters()).device
        self.capture = capture or (capture_cuda_graph if self.device.type == "cuda" else None)
        self.random = [WorldRandomness(seed=seed)] * batch
        self.begun = [False] * batch
        shape = (model.config.modalities, batch, model.config.tokens_per_frame)
        nothing = torch.zeros(shape, dtype=torch.int32, device=self.device)
        self.newest = NewestFrames.of_given(nothing, code_bits=model.config.code_bits)
        self._use(self._new_cache(batch))

    @property
    def last(self) -> Int[Tensor, "m b n"]:
        """The newest frame's tokens: the prompt's last, then the chosen ones."""
        return self.newest.codes

    @property
    def batch(self) -> int:
        """Number of worlds."""
        return len(self.begun)

    @torch.no_grad()
    def reset(
        self,
        *,
        rgb: Int[Tensor, "b p n"],
        depth: Int[Tensor, "b p n"] | None,
        controls: Float[Tensor, "b p c"],
        worlds: Sequence[int] | None = None,
    ) -> None:
        """Begin anew after a prompt, which is read in one pass.

        Args:
            rgb: Codes of the prompts' frames.
            depth: Codes of their depth; not read by a model without depth branch.
            controls: Normalised control signals that led into them; the first is ignored.
            worlds: Numbers of those that begin anew, in the prompts' order, while the others stay
                as they are; all where not given.

        Raises:
            ValueError: shapes that do not fit the model, or another number of prompts.
        """
        chosen = range(self.batch) if worlds is None else worlds
        prompt = stack_prompt(self.model, rgb=rgb, depth=depth)
        check_prompt(self.model, prompt, controls=controls)
        if len(rgb) != len(chosen):
            raise UserError(f"got prompts of {len(rgb)} rollouts for {len(chosen)} worlds")
        # The other worlds' timesteps stay: a prompt for some is read in a cache of their own.
        cache = self.cache if worlds is None else self._new_cache(len(chosen))
        cache.clear()
        self._read_prompt(prompt, controls=controls, cache=cache)
        code_bits = self.model.config.code_bits
        given = NewestFrames.of_given(prompt[:, :, -1], code_bits=code_bits)
        if worlds is None:
            self.newest = given
        else:
            self.cache.put(chosen, cache, range(len(chosen)))
            self.newest = self.newest.replaced(chosen, given)
        for world in chosen:
            resets = self.random[world].resets
            self.random[world] = WorldRandomness(
                seed=seed_for(self.seed, world, resets), resets=resets + 1
            )
            self.begun[world] = True

    @torch.no_grad()
    def step(self, control: Float[Tensor, "b c"]) -> ImaginedFrame:
        """Imagine the frame that `control` leads into.

        Raises:
            ValueError: controls of another shape, or a world that was never reset.
        """
        expected = (self.batch, self.model.config.control_size)
        if control.shape != expected or not all(self.begun):
            raise UserError(
                f"expected controls of shape {expected} for worlds that were all reset, got "
                f"{tuple(control.shape)}; never reset: "
                f"{[world for world, begun in enumerate(self.begun) if not begun]}"
            )
        drawn = self.sampling.temperature > 0
        generators = [one.generator(str(self.device)) for one in self.random] if drawn else []
        steps = self.sampling.refinement_steps
        hidden = torch.ones_like(self.last, dtype=torch.bool)
        inputs = self.inputs(torch.zeros_like(self.last), hidden, control=control)
        choices = self._choose(self.features(inputs, turn="next"), generators)
        for number in range(1, steps):
            count = hidden_after(number - 1, steps=steps, tokens=hidden.shape[-1])
            hidden = torch.stack(
                [
                    hide_least_confident(choice.confidence, hidden=mask, count=count)
                    for choice, mask in zip(choices, hidden, strict=True)
                ]
            )
            known = torch.stack([choice.codes for choice in choices])
            inputs = self.inputs(known, hidden, control=control)
            refined = self._choose(self.features(inputs, turn="again"), generators)
            choices = [
                new.where(mask, old)
                for new, mask, old in zip(refined, hidden, choices, strict=True)
            ]
        if drawn:
            self.random = [replace(one, draws=one.draws + 1) for one in self.random]
        return self._finish(choices, control=control)

    def snapshot(self) -> ImaginationState:
        """A copy of all that the worlds' futures depend on."""
        return ImaginationState(
            cache=self.cache.take(range(self.batch)),
            newest=self.newest,
            random=tuple(self.random),
            begun=tuple(self.begun),
        )

    def restore(
        self,
        state: ImaginationState,
        *,
        worlds: Sequence[int] | None = None,
        index: Sequence[int] | None = None,
    ) -> None:
        """Go on from a snapshot of this model, draws included: equal controls, equal futures.

        Args:
            state: What `snapshot` gave.
            worlds: Numbers of those that are replaced while the others go on. Without it all are,
                and the batch becomes as large as `index`.
            index: Worlds of the snapshot to take, in this order, repeats allowed; all where not
                given.
        """
        taken = range(len(state.begun)) if index is None else index
        if worlds is None:
            if len(taken) == self.batch:
                # In place, so that captured passes stay valid.
                self.cache.put(range(self.batch), state.cache, taken)
            else:
                self._use(state.cache.take(taken))
            self.newest = state.newest.take(taken)
            self.random = [state.random[world] for world in taken]
            self.begun = [state.begun[world] for world in taken]
            return
        if len(worlds) != len(taken):
            raise UserError(f"got {len(taken)} worlds of a snapshot for {len(worlds)} worlds")
        self.cache.put(worlds, state.cache, taken)
        self.newest = self.newest.replaced(worlds, state.newest.take(taken))
        for world, source in zip(worlds, taken, strict=True):
            self.random[world], self.begun[world] = state.random[source], state.begun[source]

    def reseed(self, seed: int, *, worlds: Sequence[int] | None = None) -> None:
        """Give worlds new draws from here on, each its own: equal forks part."""
        for world in range(self.batch) if worlds is None else worlds:
            self.random[world] = replace(
                self.random[world], seed=seed_for(seed, world, self.random[world].draws)
            )

    def _new_cache(self, batch: int) -> Cache:
        return Cache(
            self.model.config,
            batch=batch,
            device=self.device,
            dtype=cache_dtype(self.model, self.device),
            by_index=self.capture is not None,
        )

    def _use(self, cache: Cache) -> None:
        """Go on with another cache; passes that were captured for the last one end."""
        self.cache = cache
        self.passes = (
            CudaGraphPasses(self.model, cache, capture=self.capture) if self.capture else None
        )

    def _read_prompt(
        self, prompt: Int[Tensor, "m b p n"], *, controls: Float[Tensor, "b p c"], cache: Cache
    ) -> None:
        """Fill a cache with the prompt's timesteps, exactly as if they had been imagined so."""
        inputs = self.objective.prompt_inputs(prompt, controls)
        if inputs is not None:
            self.model.features(inputs, cache=cache)

    def _choose(
        self, features: tuple[Float[Tensor, "b 1 p d"], ...], generators: list[torch.Generator]
    ) -> list[Choice]:
        """All tokens of a frame, modality by modality."""
        return [
            choose(
                rearrange(self.model.frame_logits(x, modality=modality), "b 1 n f s -> b n f s"),
                given=self.newest.given[modality],
                code_bits=self.model.config.code_bits,
                temperature=self.sampling.temperature,
                persistence=self.model.config.persistence,
                generators=generators,
            )
            for modality, x in enumerate(features)
        ]

    def features(self, inputs: ModelInputs, *, turn: Turn) -> tuple[Float[Tensor, "b 1 p d"], ...]:
        """The features of a single timestep that the heads read."""
        if self.passes is not None:
            return self.passes.features(inputs, turn=turn)
        return self.model.features(inputs, cache=self.cache, turn=turn)

    def inputs(
        self,
        current: Int[Tensor, "m b n"],
        hidden: Bool[Tensor, "m b n"],
        *,
        control: Float[Tensor, "b c"],
    ) -> ModelInputs:
        """The model's inputs for the frame under way."""
        return self.objective.decoding_inputs(
            last=self.last, current=current, masked=hidden, control=control
        )

    def _finish(self, choices: list[Choice], *, control: Float[Tensor, "b c"]) -> ImaginedFrame:
        """Take the chosen tokens as the newest frame."""
        self.newest = NewestFrames(
            codes=torch.stack([choice.codes for choice in choices]),
            given=self.newest.given,
            soft=SoftCodes.stack([choice.soft for choice in choices]),
        )
        if self.objective.needs_clean_pass:
            # Here a timestep's keys and values belong to its own tokens: write the clean ones.
            known = torch.zeros_like(self.last, dtype=torch.bool)
            clean = self.inputs(self.last, known, control=control)
            self.features(clean, turn="replace")
        depth = choices[DEPTH] if len(choices) > 1 else None
        return ImaginedFrame(
            rgb_codes=choices[RGB].codes,
            rgb_soft=choices[RGB].soft,
            confidence=choices[RGB].confidence,
            depth_codes=depth.codes if depth else None,
            depth_soft=depth.soft if depth else None,
        )


def cache_dtype(model: WorldModel, device: torch.device) -> torch.dtype:
    """The format of keys and values: that of the hidden layers, but fp32 on CPUs.

    There a single timestep's many tiny products are twice as slow in bf16 (`docs/decisions.md`).
    """
    return torch.float32 if device.type == "cpu" else model.hidden_dtype


def stack_prompt(
    model: WorldModel, *, rgb: Int[Tensor, "b p n"], depth: Int[Tensor, "b p n"] | None
) -> Int[Tensor, "m b p n"]:
    """The prompt's codes, one entry of axis m a branch."""
    if model.config.modalities == 1:
        return rgb.unsqueeze(0)
    if depth is None:
        raise UserError(
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
        raise UserError(
            f"expected a prompt of at least one frame of {config.tokens_per_frame} tokens, got "
            f"{frames} frames of {tokens}"
        )
    if len(controls) != batch:
        raise UserError(f"got prompts of {batch} rollouts and controls of {len(controls)}")
    if controls.shape[1] < frames or controls.shape[2] != config.control_size:
        raise UserError(
            f"expected {config.control_size} control numbers for each of {frames} prompt frames, "
            f"got {tuple(controls.shape[1:])}; control_signals makes them from actions"
        )
