"""The graphs that a bundle is exported as: their modules, example inputs, names and meanings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roboscape.core.errors import UserError
from roboscape.export.graphs import ArmStart, ArmStep, CommandStep, Decode, Encode, WorldModelStep
from roboscape.rollout.bundle import Bundle

ENCODE, WORLD_MODEL, DECODE = "encode", "world_model", "decode"
CONTROLS_START, CONTROLS = "controls_start", "controls"


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One ONNX graph to be: a module, an example of its inputs, and the names of both ends."""

    name: str
    """Of the file, without `.onnx`."""
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples by name, in the order of the module's arguments; their shapes become the graph's."""
    outputs: tuple[str, ...]
    purpose: str
    exact: bool = False
    """Whether its weights keep 32 bits: a code is a sign, and signs near zero would turn."""


MEANINGS = {
    "rgb": "RGB of every world, its cameras below each other",
    "depth_m": "depth along the optical axis in metres, as rgb",
    "codes": "tokens, row by row",
    "previous_codes": "tokens of the frame before: those given, then `codes` of the last step",
    "given_codes": "tokens of the given frame, from its start on",
    "control": "normalised control signal that leads into the frame",
    "position": "steps since the world's start, 0 at its first",
    "past_keys": "memory: earlier keys (layer, world, row, slot); slot p % slots is of step p",
    "past_values": "memory: values of earlier steps, as past_keys",
    "new_keys": "this step's keys, for slot position % slots of past_keys",
    "new_values": "this step's values, for slot position % slots of past_values",
    "vectors": "code vectors to decode",
    "unchanged": "probability that a token is the given frame's",
    "confidence": "probability of every chosen token",
    "logits": "of every value of every factor of a token, to draw tokens from",
    "given_rgb": "RGB of the given frame",
    "given_depth_m": "depth of the given frame in metres",
    "actions": "native actions between the frame before and the next, stored units",
    "task": "vector of the task's text (`tasks`); zeros where none is given",
    "state": "proprioception at the frame before, stored units (without an arm model: at the "
    "given frame, always)",
    "state_before": "proprioception one native row before the given frame; equal to state at rest",
    "state_after": "imagined proprioception at the next frame, stored units: the next `state`",
    "hidden": "memory of the arm model (`ArmState.hidden`)",
    "hidden_after": "the next `hidden`",
    "normalized_state": "the arm model's own copy of the state, then the objects that it imagines "
    "(if any), in deviations from the mean",
    "normalized_state_after": "the next `normalized_state`",
    "moved": "motion commanded since the given frame, physical units; zeros at first",
    "moved_after": "the next `moved`",
}
"""The meaning of every input and output, by name."""


def graphs_of(bundle: Bundle, *, batch: int) -> list[Graph]:
    """All graphs of a bundle for so many worlds at a time.

    Raises:
        ValueError: a world model of the plain masked objective, or no world at all.
    """
    if bundle.world_model.config.objective != "next_frame":
        raise UserError(
            "expected a world model of objective `next_frame`, got "
            f"`{bundle.world_model.config.objective}`, whose timesteps need a second pass over "
            "chosen tokens; export is for the models that `roboscape train world-model` makes by "
            "default"
        )
    if batch < 1:
        raise UserError(f"expected one world or more at a time, got {batch}")
    return [
        encode_graph(bundle, batch),
        world_model_graph(bundle, batch),
        decode_graph(bundle, batch),
        *control_graphs(bundle, batch),
    ]


def given_images(bundle: Bundle, batch: int) -> tuple[Tensor, ...]:
    """Examples of RGB and, where the model has it, depth."""
    side, model = bundle.tokenizer.config.image_size, bundle.world_model.config
    size = (batch, model.cameras * side, side)
    rgb = torch.zeros(*size, 3, dtype=torch.uint8)
    return (rgb, torch.ones(size)) if model.modalities > 1 else (rgb,)


def encode_graph(bundle: Bundle, batch: int) -> Graph:
    """Frames to tokens."""
    images = given_images(bundle, batch)
    return Graph(
        name=ENCODE,
        module=Encode(bundle.tokenizer),
        inputs=dict(zip(("rgb", "depth_m"), images, strict=False)),
        outputs=("codes",),
        purpose="the tokens of given frames",
        exact=True,
    )


def world_model_graph(bundle: Bundle, batch: int) -> Graph:
    """Tokens, a control signal and the memory to the next tokens."""
    module, config = WorldModelStep(bundle), bundle.world_model.config
    codes = torch.zeros(config.modalities, batch, config.tokens_per_frame, dtype=torch.int32)
    layers, rows = config.modalities * config.num_layers, config.patches_per_frame * config.heads
    past = torch.zeros(layers, batch, rows, module.slots, config.head_size)
    return Graph(
        name=WORLD_MODEL,
        module=module,
        inputs={
            "previous_codes": codes,
            "given_codes": codes.clone(),
            "control": torch.zeros(batch, config.control_size),
            "position": torch.zeros(batch, dtype=torch.int32),
            "past_keys": past,
            "past_values": past.clone(),
        },
        outputs=(
            "codes",
            "vectors",
            "unchanged",
            "confidence",
            "logits",
            "new_keys",
            "new_values",
        ),
        purpose="the next frame's tokens",
    )


def decode_graph(bundle: Bundle, batch: int) -> Graph:
    """Code vectors to pixels; with the given frame in view where the tokenizer takes it."""
    config = bundle.world_model.config
    shape = (config.modalities, batch, config.tokens_per_frame)
    inputs = {"vectors": torch.zeros(*shape, config.code_bits)}
    if bundle.tokenizer.config.given_frame:
        images = given_images(bundle, batch)
        names = ("given_rgb", "given_depth_m")
        inputs |= {"unchanged": torch.zeros(shape)} | dict(zip(names, images, strict=False))
    return Graph(
        name=DECODE,
        module=Decode(bundle.tokenizer),
        inputs=inputs,
        outputs=("rgb", "depth_m") if config.modalities > 1 else ("rgb",),
        purpose="the pixels of imagined frames",
    )


def control_graphs(bundle: Bundle, batch: int) -> list[Graph]:
    """Actions to control signals; with an arm model, its start and the arm's states too."""
    controls = bundle.controls
    statistics, arm = controls.statistics, controls.proprioception
    numbers, size = len(controls.convention.names), statistics.task_size
    state = torch.zeros(batch, statistics.state_size)
    inputs = {"actions": torch.zeros(batch, controls.stride, numbers), "state": state}
    task = {"task": torch.zeros(batch, size)} if size else {}
    if arm is None:
        moved = torch.zeros(batch, numbers, dtype=torch.float64)
        return [
            Graph(
                name=CONTROLS,
                module=CommandStep(controls),
                inputs=inputs | {"moved": moved} | task,
                outputs=("control", "moved_after"),
                purpose="the control signal of the next frame",
                exact=True,
            )
        ]
    numbers_imagined = statistics.state_size + len(controls.object_names)
    memory = {
        "hidden": torch.zeros(batch, arm.config.hidden_size),
        "normalized_state": torch.zeros(batch, numbers_imagined),
    }
    shape = bundle.world_model.config
    codes = torch.zeros(shape.modalities, batch, shape.tokens_per_frame, dtype=torch.int32)
    given = {} if bundle.object_reader is None else {"codes": codes}
    return [
        Graph(
            name=CONTROLS_START,
            module=ArmStart(arm, bundle.object_reader),
            inputs={"state": state, "state_before": state.clone()} | given,
            outputs=("hidden", "normalized_state"),
            purpose="the arm model's memory at a start",
            exact=True,
        ),
        Graph(
            name=CONTROLS,
            module=ArmStep(controls),
            inputs=inputs | memory | task,
            outputs=("control", "state_after", "hidden_after", "normalized_state_after"),
            purpose="the control signal of the next frame, and the arm's imagined state",
            exact=True,
        ),
    ]
