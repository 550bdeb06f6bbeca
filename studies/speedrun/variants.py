"""What the speed-run of the world model tries: one change each, of the preset `lift`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roboscape.presets.world_model import lift, shortened
from roboscape.reproduce.training import Surgery
from roboscape.reproduce.variants import Change, setting
from roboscape.training.optimizer import OptimizerConfig
from roboscape.world_model.losses import LossConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import MaskingConfig
from roboscape.world_model.train import WorldModelRun
from studies.speedrun import modules

BASELINE = "lift"
PLAIN, PLAIN_4X = "plain_masked", "plain_masked_4x"
COMMANDED = Path("data/lift_tokens_commanded")
"""The store, tokenized without imagined proprioception."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of the log."""

    name: str
    what: str
    """For people."""
    changes: tuple[Change, ...] = ()
    """Of the run."""
    surgeries: tuple[Surgery, ...] = ()
    """Of the model that the run builds."""
    budget: float = 1.0
    """Compute, as a multiple of everyone else's."""
    step_as: str = ""
    """The variant whose step costs the same, where it need not be measured."""

    def run(self, base: WorldModelRun) -> WorldModelRun:
        """The changed run."""
        for change in self.changes:
            base = change(base)
        return base

    def model(self, model: WorldModel) -> WorldModel:
        """The changed model."""
        for surgery in self.surgeries:
            model = surgery(model)
        return model


def short_lift(*, steps: int) -> WorldModelRun:
    """The preset `lift`, with what it counts in steps fitted to a short run."""
    return shortened(lift(), steps=steps)


def one(
    name: str, what: str, *, surgery: Surgery | None = None, step_as: str = "", **changes: Any
) -> Variant:
    """A variant of one idea."""
    return Variant(
        name=name,
        what=what,
        changes=(setting(**changes),) if changes else (),
        surgeries=(surgery,) if surgery else (),
        step_as=step_as,
    )


def adamw(rate: float) -> dict[str, Any]:
    """AdamW alone."""
    return {"kind": "adamw", "learning_rate": rate}


def plain(run: WorldModelRun) -> WorldModelRun:
    """The recipe of the open Genie implementations, with a depth branch beside it."""
    return setting(
        objective="masked",
        time_position="learned",
        average_decay=0.0,
        attention=0.0,
        keypoint=0.0,
        **adamw(1e-3),
    )(run)


def paper(run: WorldModelRun) -> WorldModelRun:
    """What the paper says and nothing else: learned times, AdamW, its losses, true pasts."""
    run = replace(
        run,
        loss=LossConfig(),
        masking=MaskingConfig(corruption=0.0, self_predicted=0.0),
        optimizer=OptimizerConfig(kind="adamw", warmup_steps=run.optimizer.warmup_steps),
    )
    return setting(time_position="learned", average_decay=0.0)(run)


def listed() -> tuple[Variant, ...]:
    """All variants, the most telling first: a run that is cut short has tried those."""
    return (
        Variant(name=BASELINE, what="the preset `lift`, average decay .99"),
        Variant(name=PLAIN, what="plain masked recipe", changes=(plain,)),
        Variant(
            name=PLAIN_4X,
            what="the same, four times the compute",
            changes=(plain,),
            budget=4,
            step_as=PLAIN,
        ),
        one(
            "commanded",
            "control signals that sum the commands",
            step_as=BASELINE,
            tokens=COMMANDED,
        ),
        one("masked", "masked objective, all else as the preset", objective="masked"),
        one("copy_bias", "logits start from the previous frame", copy_previous=True),
        one("control_mlp", "controls through an MLP", surgery=modules.control_mlp(0)),
        one("control_waves", "controls as waves, then an MLP", surgery=modules.control_mlp(5)),
        one("batch_2", "2 clips a step instead of 4", batch_size=2),
        one("adamw", "AdamW alone, rate .002", **adamw(2e-3)),
        Variant(name="paper", what="the paper's recipe", changes=(paper,)),
        one("no_self_prediction", "no self-predicted pasts", self_predicted=0.0),
        one("no_corruption", "no corrupted pasts", step_as=BASELINE, corruption=0.0),
        one("tied", "output head tied to the token tables", surgery=modules.tied),
        one("qk_norm", "queries and keys normalised", surgery=modules.qk_norm),
        one("squared_relu", "squared ReLU instead of GELU", surgery=modules.squared_relu),
        one("wide", "width 192, 2 layers", width=192, heads=6, num_layers=2),
        one("deep", "width 96, 8 layers", width=96, heads=3, num_layers=8),
        one("no_average", "no weight averaging", average_decay=0.0),
        one("decay_all", "rate falls from the start on", step_as=BASELINE, decay_fraction=1.0),
        one(
            "muon_double",
            "Muon's rate .04, not .02",
            step_as=BASELINE,
            muon_learning_rate=0.04,
        ),
        one("muon_half", "Muon's rate .01", step_as=BASELINE, muon_learning_rate=0.01),
        one("fully_hidden_100", "no row reveals its own tokens", fully_masked=1.0),
        one("no_attention_loss", "keypoint-weighted loss off", attention=0.0),
        one("no_keypoint_loss", "keypoint consistency off", keypoint=0.0),
        one("no_injection", "depth features do not enter RGB", inject_depth=False),
        one("patch_4", "16 tokens a position instead of 4", patch=4),
        one("patch_1", "every token a position", patch=1),
        one("batch_8", "8 clips a step", batch_size=8),
        one("wide_192", "width 192, depth 4", width=192, heads=6),
        one("decay_20", "rate falls in the last fifth", step_as=BASELINE, decay_fraction=0.2),
        one("average_95", "average decay .95", step_as=BASELINE, average_decay=0.95),
        one("corruption_30", "up to 30 % of the past corrupted", step_as=BASELINE, corruption=0.3),
        one("self_prediction_50", "half of the late steps self-predicted", self_predicted=0.5),
        one("fully_hidden_50", "half of the rows reveal tokens", fully_masked=0.5),
        one("adamw_hot", "AdamW alone, rate .006", step_as="adamw", **adamw(6e-3)),
        one("learned_time", "learned times instead of rotary", time_position="learned"),
        one("rms_norm", "RMSNorm instead of LayerNorm", surgery=modules.rms_norm),
        one("gated_mlp", "SwiGLU of as many parameters", surgery=modules.gated_mlp),
        one("normal_outputs", "residual outputs start normal", surgery=modules.normal_outputs),
    )


def variant_named(name: str) -> Variant:
    """A listed variant, or several at once: `copy_bias+batch_2`.

    Raises:
        ValueError: there is none of that name.
    """
    known = {variant.name: variant for variant in listed()}
    if name in known:
        return known[name]
    parts = name.split("+")
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise ValueError(f"no variant {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = [known[part] for part in parts]
    return Variant(
        name=name,
        what="; ".join(variant.what for variant in chosen),
        changes=tuple(change for variant in chosen for change in variant.changes),
        surgeries=tuple(surgery for variant in chosen for surgery in variant.surgeries),
        budget=max(variant.budget for variant in chosen),
    )
