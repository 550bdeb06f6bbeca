"""How much memory, how many days: a training of the world model on many devices, worked out.

    python benchmarks/training/plan_run.py                         # the tables of docs/scale.md
    python benchmarks/training/plan_run.py --presets large --devices 64 --clips-per-device 8
    python benchmarks/training/measure_step.py --preset large --device cuda   # on your device, then
    python benchmarks/training/plan_run.py --presets large --model-flops-per-s 8e13   # with it

Memory, operations and traffic are counted from the model's own code (`step_cost.py`). Speed is an
assumption until it is measured: `--efficiency` of the roofline of unfused operations.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import tyro
from step_cost import Parameters, StepCost, count_parameters, head_flops, step_cost

from roboscape.bench.models import shape_of
from roboscape.core.files import write_json
from roboscape.presets.world_model import PRESETS
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.losses import CHUNK

GIB = 2**30
FP32, BF16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a data sheet says: dense bf16 products, memory traffic, memory."""

    flops_per_s: float
    bytes_per_s: float
    memory_bytes: float


DEVICES = {
    "a100": Device(flops_per_s=312e12, bytes_per_s=2.04e12, memory_bytes=80e9),
    "h100": Device(flops_per_s=989e12, bytes_per_s=3.35e12, memory_bytes=80e9),
    "h200": Device(flops_per_s=989e12, bytes_per_s=4.8e12, memory_bytes=141e9),
}
"""The paper's A800 is an A100 with slower links between its devices."""


@dataclass(frozen=True, kw_only=True)
class PlanRun:
    """What to plan. The defaults are the paper's run, and the same on 1024 devices."""

    presets: tuple[str, ...] = ("small", "medium", "large")
    """Shapes."""
    devices: tuple[int, ...] = (32, 1024)
    """Numbers of GPUs."""
    kind: Literal["a100", "h100", "h200"] = "a100"
    """What GPU."""
    clips: float = 6.5e6
    """Training clips; the paper's."""
    epochs: float = 5
    """Times that each is seen; the paper's."""
    clips_per_device: int = 16
    """Of a step."""
    recompute: bool = True
    """Activation checkpointing."""
    model_flops_per_s: float = 0.0
    """Measured model FLOP/s of a device; 0: `efficiency` of the roofline."""
    efficiency: float = 0.6
    """ASSUMED share of the roofline's speed, as long as nothing is measured."""
    network_bytes_per_s: float = 25e9
    """ASSUMED, per device and direction: a 200 Gbit/s link each."""
    disk_bytes_per_s: float = 10e9
    """ASSUMED, of the shared disk that checkpoints are written to, all processes together."""
    load_s_per_clip: float = 3.4e-4
    """Time to prepare a clip in one process, as `benchmarks/speed/clips.py` measures it."""
    hours_between_failures: float = 50_000
    """ASSUMED, of one device: 419 interruptions of 16 384 GPUs in 54 days (Llama 3, 2024)."""
    output: Path | None = None
    """JSON to write."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on each device."""

    states: float
    """Weights, gradients, average and optimiser."""
    gathered: float
    """Whole weights and gradients of what is being computed, under FSDP2."""
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """Everything."""
        return self.states + self.gathered + self.activations + self.logits


def memory_of(
    config: WorldModelConfig,
    parameters: Parameters,
    cost: StepCost,
    *,
    clips: int,
    shards: int,
) -> Memory:
    """Memory of one of `shards` devices that share the states; 1 is DDP.

    Under FSDP2 what belongs to no block stays gathered, in fp32, from the forward pass on, and two
    blocks at a time are gathered in bf16, the second ahead of its turn, with one fp32 gradient.
    """
    numbers = 3 * parameters.total + parameters.remembered
    blocks = config.num_layers * config.modalities
    outside = parameters.total - blocks * parameters.block
    if shards > 1:
        gathered = 2 * FP32 * outside + (2 * BF16 + FP32) * parameters.block
    else:
        gathered = BF16 * parameters.total  # autocast's copies
    vocabulary = config.tokens_per_patch * config.factors * config.factor_size
    return Memory(
        states=FP32 * numbers / shards,
        gathered=gathered,
        activations=clips * (cost.kept_bytes_per_clip + cost.again_bytes_per_clip),
        # In bf16, again in fp32, and the gradient of each.
        logits=CHUNK / config.tokens_per_patch * vocabulary * 2 * (FP32 + BF16),
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One shape on some devices."""

    preset: str
    devices: int
    batch: int
    steps: float
    step_s: float
    flops_per_clip: float
    """Model FLOPs: forward and backward, no second forward pass, logits included."""
    flops_per_s: float
    """Model FLOP/s of a device."""
    utilisation: float
    """Of the data sheet's."""
    tokens_per_s: float
    """Of all devices, both branches."""
    days: float
    network_s: float
    """Of a step, if nothing hid it."""
    launch_s: float
    """For the CPU to ask for every operation of a step, at 6 microseconds each."""
    muon_s: float
    """Of a step under DDP, where every device orthogonalises everything; FSDP2 shares it out."""
    loading: float
    """Share of one process's time that goes into preparing a device's clips."""
    checkpoint_bytes: float
    checkpoint_s: float
    failure_h: float
    """Mean time between failures of any device."""


@cache
def counted(preset: str, *, clips: int, recompute: bool) -> tuple[StepCost, Parameters]:
    """What a step of a preset asks for."""
    config = shape_of(preset, branches="both")
    return step_cost(config, clips=clips, recompute=recompute), count_parameters(config)


def model_flops(config: WorldModelConfig, cost: StepCost) -> float:
    """FLOPs that the mathematics of a clip's training step asks for."""
    return 3 * (cost.forward.flops / cost.clips + head_flops(config))


def plan(config: PlanRun, preset: str, devices: int) -> Plan:
    """Work out a run."""
    shape, clips, device = (
        shape_of(preset, branches="both"),
        config.clips_per_device,
        DEVICES[config.kind],
    )
    cost, parameters = counted(preset, clips=clips, recompute=config.recompute)
    flops = model_flops(shape, cost)
    masking = PRESETS[preset]().masking
    self_predicted = masking.self_predicted * (1 + masking.self_predicted_passes) / 2
    rate = config.model_flops_per_s or roofline_rate(cost, flops, config)
    # Self-predicted steps need forward passes more; they are no part of the model FLOPs.
    launch_s = 6e-6 * (cost.forward.kernels + cost.backward.kernels)
    step_s = max(clips * flops / rate * (1 + self_predicted / 3), launch_s)
    batch = clips * devices
    steps = config.clips * config.epochs / batch
    network = parameters.total * (2 * BF16 + FP32) * (devices - 1) / devices
    checkpoint = FP32 * (2 * parameters.total + parameters.remembered)
    tokens = batch * shape.modalities * shape.window * shape.tokens_per_frame
    return Plan(
        preset=preset,
        devices=devices,
        batch=batch,
        steps=steps,
        step_s=step_s,
        flops_per_clip=flops,
        flops_per_s=rate,
        utilisation=rate / device.flops_per_s,
        tokens_per_s=tokens / step_s,
        days=steps * step_s / 86400,
        network_s=network / config.network_bytes_per_s,
        launch_s=launch_s,
        muon_s=parameters.muon_step_flops / (config.efficiency * device.flops_per_s),
        loading=clips * config.load_s_per_clip / step_s,
        checkpoint_bytes=checkpoint,
        checkpoint_s=checkpoint / config.disk_bytes_per_s,
        failure_h=config.hours_between_failures / devices,
    )


def roofline_rate(cost: StepCost, flops: float, config: PlanRun) -> float:
    """Model FLOP/s of a device that reaches `efficiency` of its roofline."""
    device = DEVICES[config.kind]
    seconds = sum(
        work.seconds(flops_per_s=device.flops_per_s, bytes_per_s=device.bytes_per_s)
        for work in (cost.forward, cost.backward)
    )
    # The heads are matrix products of a good size, forward, again, and backward.
    share = flops - 3 * cost.forward.flops / cost.clips
    seconds += cost.clips * share * 4 / 3 / device.flops_per_s
    return config.efficiency * cost.clips * flops / seconds


def shape_row(preset: str) -> list[str]:
    """What a shape is and asks for, on any device."""
    config, (kept, parameters) = (
        shape_of(preset, branches="both"),
        counted(preset, clips=1, recompute=False),
    )
    again, _ = counted(preset, clips=1, recompute=True)
    one = (parameters.total - config.num_layers * square(config)) / config.modalities
    return [
        preset,
        f"{one / 1e6:.0f} M / {parameters.total / 1e6:.0f} M",
        f"{model_flops(config, kept) / 1e12:.2f}",
        f"{FP32 * (3 * parameters.total + parameters.remembered) / GIB:.1f}",
        f"{kept.kept_bytes_per_clip / GIB:.2f}",
        f"{(again.kept_bytes_per_clip + again.again_bytes_per_clip) / GIB:.2f}",
    ]


def square(config: WorldModelConfig) -> int:
    """Parameters of one layer's injection of depth into RGB."""
    return config.width**2 if config.inject_depth and config.modalities == 2 else 0


def memory_row(preset: str, devices: int, config: PlanRun) -> list[str]:
    """Memory of a device, and how many clips fit."""
    shape = shape_of(preset, branches="both")
    cost, parameters = counted(preset, clips=config.clips_per_device, recompute=config.recompute)
    found = memory_of(shape, parameters, cost, clips=config.clips_per_device, shards=devices)
    # A tenth stays free: the allocator's gaps, NCCL, CUDA itself.
    room = 0.9 * DEVICES[config.kind].memory_bytes - (found.total - found.activations)
    fit = int(room / (found.activations / config.clips_per_device))
    parts = (found.states, found.gathered, found.activations, found.logits, found.total)
    name = f"FSDP2 over {devices}" if devices > 1 else "DDP"
    return [preset, name, *(f"{part / GIB:.2f}" for part in parts), str(max(fit, 0))]


def plan_row(found: Plan) -> list[str]:
    """Speed."""
    return [
        found.preset,
        str(found.devices),
        f"{found.batch:,}",
        f"{found.steps:,.0f}",
        f"{found.flops_per_s / 1e12:.0f} ({found.utilisation:.0%})",
        f"{found.step_s:.2f}",
        f"{found.tokens_per_s / 1e6:.1f} M",
        f"**{found.days:.2f}**",
    ]


def breaks_row(found: Plan) -> list[str]:
    """What stands beside the computing."""
    return [
        found.preset,
        str(found.devices),
        f"{found.network_s / found.step_s:.0%}",
        f"{found.launch_s / found.step_s:.0%}",
        f"{found.muon_s / found.step_s:.0%}",
        f"{found.loading:.1%}",
        f"{found.batch / found.step_s:,.0f}",
        f"{found.checkpoint_bytes / 1e9:.1f} GB, {found.checkpoint_s:.1f} s",
        f"{found.failure_h:,.0f} h",
    ]


def table(head: str, rows: list[list[str]]) -> str:
    """As Markdown."""
    names = head.split(" | ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main(config: PlanRun) -> None:
    """Print the tables."""
    plans = [plan(config, preset, n) for preset in config.presets for n in config.devices]
    memory = [memory_row(p, n, config) for p in config.presets for n in (1, *config.devices)]
    print(
        table(
            "shape | parameters: a branch / all | TFLOPs a clip | states, GiB | "
            "activations a clip, GiB | recomputed, GiB",
            [shape_row(preset) for preset in config.presets],
        )
    )
    print(
        table(
            "shape | spread | states | gathered | activations | logits | all, GiB | clips that fit",
            memory,
        )
    )
    print(
        table(
            "shape | GPUs | clips a step | steps | model TFLOP/s a GPU | step, s | tokens/s | days",
            [plan_row(one) for one in plans],
        )
    )
    print(
        table(
            "shape | GPUs | transfers / step | launches / step | Muon, DDP / step | "
            "a loader's time | clips/s | checkpoint | a failure every",
            [breaks_row(one) for one in plans],
        )
    )
    if config.output is not None:
        write_json(config.output, [asdict(one) for one in plans])


if __name__ == "__main__":
    main(tyro.cli(PlanRun))
