"""The parts of a bundle as functions of plain tensors, each of which becomes one ONNX graph.

Axes: m modality (0 RGB, 1 depth; RGB alone where the model has no depth), b world, h and w pixels
(of several cameras the images lie below each other), n token, v code bit, f factor of a token,
s value of a factor or dimension of the state, c control number, a action number, k task number,
t slot of the memory, r layer (those of RGB first, then those of depth), q row of keys or values
(patch and head), d channel of a head.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Float, Float32, Float64, Int, UInt8
from torch import Tensor, nn

from roboscape.controls.encoder import ControlEncoder, ControlStatistics
from roboscape.controls.proprioception import ArmState, Proprioception
from roboscape.controls.signals import gripper_dimensions
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.sampling import choose
from roboscape.tokenizer.codes import code_to_vectors
from roboscape.tokenizer.decoder import GivenView
from roboscape.tokenizer.model import Tokenizer, image_to_rgb, rgb_to_image
from roboscape.tokens.state_reader import StateReader
from roboscape.world_model.model import ModelInputs
from roboscape.world_model.timesteps import Time, rotation_at, visibility_bias


@dataclass(kw_only=True)
class GivenLayer:
    """The keys and values of one layer as tensors; keeps the pass's own ones apart."""

    keys: Float[Tensor, "b q t d"]
    values: Float[Tensor, "b q t d"]
    new: list[Float[Tensor, "b q d"]] = field(default_factory=list)
    """The pass's own key and value."""

    @property
    def dtype(self) -> torch.dtype:
        """The format that keys and values are kept in."""
        return self.keys.dtype

    def exchange(
        self, k: Float[Tensor, "b q 1 d"], v: Float[Tensor, "b q 1 d"]
    ) -> tuple[Float[Tensor, "b q _ d"], Float[Tensor, "b q _ d"]]:
        """Earlier timesteps, then the pass's own."""
        self.new = [k[:, :, 0], v[:, :, 0]]
        return torch.cat([self.keys, k], dim=2), torch.cat([self.values, v], dim=2)


@dataclass(kw_only=True)
class GivenMemory:
    """All layers' keys and values."""

    layers: list[list[GivenLayer]]


class WorldModelStep(nn.Module):
    """The next frame's tokens, greedily chosen, and what its timestep adds to the memory.

    The memory has one slot less than the model's window, for the timestep's own keys and values
    need none. Timestep p of a world, counted from 0 at its start, reads the slots that are filled,
    and belongs into slot p modulo their number afterwards.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.model = bundle.world_model
        self.soft_codes = bundle.tokenizer.config.soft_codes
        self.slots = self.model.config.window - 1

    def forward(
        self,
        previous_codes: Int[Tensor, "m b n"],
        given_codes: Int[Tensor, "m b n"],
        control: Float[Tensor, "b c"],
        position: Int[Tensor, " b"],
        past_keys: Float[Tensor, "r b q t d"],
        past_values: Float[Tensor, "r b q t d"],
    ) -> tuple[Tensor, ...]:
        """Codes, code vectors for the decoder, share unchanged, confidence, logits, key, value."""
        memory = self.memory(past_keys, past_values)
        inputs = ModelInputs(
            previous=previous_codes.unsqueeze(2),
            current=torch.zeros_like(previous_codes).unsqueeze(2),
            masked=torch.ones_like(previous_codes, dtype=torch.bool).unsqueeze(2),
            controls=control.unsqueeze(1),
        )
        features = self.model.run(inputs, time=self.time(position), cache=memory)
        logits = [
            self.model.frame_logits(x, modality=modality).squeeze(1)
            for modality, x in enumerate(features)
        ]
        bits, persistence = self.model.config.code_bits, self.model.config.persistence
        choices = [
            choose(one, given=given, code_bits=bits, temperature=0.0, persistence=persistence)
            for one, given in zip(logits, given_codes, strict=True)
        ]
        codes = torch.stack([choice.codes for choice in choices])
        if self.soft_codes:
            vectors = torch.stack([choice.soft.vectors for choice in choices])
            unchanged = torch.stack([choice.soft.unchanged for choice in choices])
        else:
            vectors = code_to_vectors(codes, code_bits=bits)
            unchanged = (codes == given_codes).float()
        confidence = torch.stack([choice.confidence for choice in choices])
        new = [layer.new for branch in memory.layers for layer in branch]
        keys, values = (torch.stack(part) for part in zip(*new, strict=True))
        return codes, vectors, unchanged, confidence, torch.stack(logits), keys, values

    def memory(
        self, keys: Float[Tensor, "r b q t d"], values: Float[Tensor, "r b q t d"]
    ) -> GivenMemory:
        """Every layer's part."""
        config = self.model.config
        layers = [
            GivenLayer(keys=k, values=v)
            for k, v in zip(keys.unbind(), values.unbind(), strict=True)
        ]
        size = config.num_layers
        return GivenMemory(
            layers=[layers[m * size : (m + 1) * size] for m in range(config.modalities)]
        )

    def time(self, position: Int[Tensor, " b"]) -> Time:
        """Positions, filled slots and rotary angles of each world's timestep."""
        config, positions = self.model.config, position.long().unsqueeze(1)
        filled = torch.arange(self.slots) < positions
        visible = torch.cat([filled, torch.ones_like(positions, dtype=torch.bool)], dim=1)
        bias = rearrange(visibility_bias(visible), "b t -> b 1 1 t")
        if config.time_position == "learned":
            return Time(positions=positions, bias=bias, rotation=None)
        rotation = rotation_at(positions, head_size=config.head_size, base=config.rotary_base)
        return Time(
            positions=positions,
            bias=bias,
            rotation=rearrange(rotation, "two b t d -> two b 1 t d"),
        )


class Encode(nn.Module):
    """The tokens of given frames."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(
        self, rgb: UInt8[Tensor, "b h w 3"], depth_m: Float[Tensor, "b h w"] | None = None
    ) -> Int[Tensor, "m b n"]:
        """Codes."""
        images = stacked_images(self.tokenizer, rgb, depth_m)
        return rearrange(self.tokenizer.encode(images), "(m b) n -> m b n", b=len(rgb))


class Decode(nn.Module):
    """The pixels of imagined frames."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(
        self,
        vectors: Float[Tensor, "m b n v"],
        unchanged: Float[Tensor, "m b n"] | None = None,
        given_rgb: UInt8[Tensor, "b h w 3"] | None = None,
        given_depth_m: Float[Tensor, "b h w"] | None = None,
    ) -> tuple[Tensor, ...]:
        """RGB, and depth in metres where the model has it."""
        view = None
        if unchanged is not None and given_rgb is not None:
            view = GivenView(
                images=stacked_images(self.tokenizer, given_rgb, given_depth_m),
                unchanged=unchanged.flatten(0, 1),
            )
        images = self.tokenizer.decoded(vectors.flatten(0, 1), view).clamp(-1, 1)
        worlds = vectors.shape[1]
        rgb = image_to_rgb(images[:worlds])
        if len(vectors) == 1:
            return (rgb,)
        return rgb, self.tokenizer.image_to_depth(images[worlds:])


def stacked_images(
    tokenizer: Tokenizer, rgb: UInt8[Tensor, "b h w 3"], depth_m: Float[Tensor, "b h w"] | None
) -> Float[Tensor, "mb 3 h w"]:
    """RGB and depth as the tokenizer sees them, after each other."""
    images = rgb_to_image(rgb)
    if depth_m is None:
        return images
    return torch.cat([images, tokenizer.depth_to_image(depth_m)])


class ArmStart(nn.Module):
    """The arm model's memory before the first action."""

    def __init__(self, arm: Proprioception, object_reader: StateReader | None) -> None:
        super().__init__()
        self.arm, self.object_reader = arm, object_reader

    def forward(
        self,
        state: Float32[Tensor, "b s"],
        state_before: Float32[Tensor, "b s"],
        codes: Int[Tensor, "m b n"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Recurrent state, and the state in deviations from the mean.

        The tokens of the given frame are needed where a reader says where its objects are.
        """
        objects = None
        if self.object_reader is not None and codes is not None:
            rgb, *depth = codes
            objects = self.object_reader.stored(rgb, depth[0] if depth else None)
        begun = self.arm.start(state, state_before, objects)
        return begun.hidden, begun.state


class ArmStep(nn.Module):
    """The control signal that leads into the next frame, and the state that the arm then has."""

    def __init__(self, controls: ControlEncoder) -> None:
        super().__init__()
        assert controls.proprioception is not None
        self.arm, self.statistics = controls.proprioception, controls.statistics

    def forward(
        self,
        actions: Float32[Tensor, "b stride a"],
        state: Float32[Tensor, "b s"],
        hidden: Float32[Tensor, "b w"],
        normalized_state: Float32[Tensor, "b m"],
        task: Float32[Tensor, "b k"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Control signal, then the state, recurrent state and state in deviations to go on with."""
        arm, states = self.arm.advance(ArmState(hidden=hidden, state=normalized_state), actions)
        after = self.arm.stored_units(states[:, -1])
        if self.statistics.convention.mode == "absolute":
            actions = actions[:, -1:]
        signal = torch.cat([actions.flatten(1), after, after - state], dim=-1)
        return normalized(self.statistics, signal, task), after, arm.hidden, arm.state


class CommandStep(nn.Module):
    """The control signal that leads into the next frame, where a bundle has no arm model."""

    def __init__(self, controls: ControlEncoder) -> None:
        super().__init__()
        self.statistics = controls.statistics
        convention = controls.convention
        self.register_buffer("scale", torch.tensor(convention.scale, dtype=torch.float64))
        self.register_buffer("is_gripper", torch.from_numpy(gripper_dimensions(convention)))

    def forward(
        self,
        actions: Float32[Tensor, "b stride a"],
        state: Float32[Tensor, "b s"],
        moved: Float64[Tensor, "b a"],
        task: Float32[Tensor, "b k"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Control signal, and the motion commanded since the first frame."""
        if self.statistics.convention.mode == "absolute":
            return normalized(self.statistics, torch.cat([actions[:, -1], state], -1), task), moved
        scaled = actions.double() * self.get_buffer("scale")
        # The order of the sum is that of `commanded_motion`.
        moved = torch.where(self.get_buffer("is_gripper"), scaled[:, -1], moved + scaled.sum(dim=1))
        signal = torch.cat([actions.flatten(1), moved.float(), state], dim=-1)
        return normalized(self.statistics, signal, task), moved


def normalized(
    statistics: ControlStatistics, signal: Float[Tensor, "b c"], task: Float[Tensor, "b k"] | None
) -> Float[Tensor, "b i"]:
    """A control signal as the world model takes it."""
    mean, std = signal.new_tensor(statistics.mean), signal.new_tensor(statistics.std)
    known = (signal - mean) / std
    return known if task is None else torch.cat([known, task], dim=-1)
