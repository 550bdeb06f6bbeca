"""The command line: the words of a command spell the file that runs.

A stage is imported only when it is called, so `roboscape --help` needs no torch.
"""

import difflib
import importlib
import logging
import sys
from dataclasses import dataclass
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.memory import keep_freed_memory
from roboscape.core.threads import wait_without_spinning


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: where its configuration and its `run` live."""

    module: str
    """The file, which offers `run(config)`."""
    config: str
    """The frozen dataclass that the flags fill."""
    summary: str
    presets: str = ""
    """A module with `PRESETS`, complete configurations by name, for commands that choose one."""


COMMANDS: dict[str, Command] = {
    "demo": Command(
        module="roboscape.pipelines.demo",
        config="Demo",
        summary="Everything in minutes, starting from the released checkpoint.",
    ),
    "quickstart": Command(
        module="roboscape.pipelines.quickstart",
        config="Quickstart",
        summary="Everything from scratch, small, in half an hour.",
    ),
    "collect lift": Command(
        module="roboscape.collect.lift",
        config="CollectLift",
        summary="Record a simulated robot that lifts a cube (robosuite).",
    ),
    "collect metaworld": Command(
        module="roboscape.collect.metaworld",
        config="CollectMetaworld",
        summary="Record Meta-World's scripted policies.",
    ),
    "collect policy": Command(
        module="roboscape.policies.collecting",
        config="CollectPolicy",
        summary="Record what trained policies do in the true simulator, failures too.",
    ),
    "import": Command(
        module="roboscape.sources.readers.importing",
        config="ImportRecordings",
        summary="Read recordings of another format (robomimic, RLDS, AgiBot, your own, ...).",
    ),
    "prepare": Command(
        module="roboscape.pipelines.prepare",
        config="Prepare",
        summary="Recordings to annotated, filtered, graded clips, at once.",
    ),
    "learn": Command(
        module="roboscape.pipelines.learn",
        config="Learn",
        summary="A prepared dataset to a simulator of its robot, at once.",
    ),
    "inspect": Command(
        module="roboscape.inspection.inspect",
        config="Inspect",
        summary="What a dataset holds, and what looks wrong in it.",
    ),
    "repair": Command(
        module="roboscape.inspection.repair",
        config="RepairDataset",
        summary="Write a copy of a dataset without what inspect found.",
    ),
    "unify": Command(
        module="roboscape.clips.unify",
        config="Unify",
        summary="Copy a dataset in the form that all robots share, to train on several.",
    ),
    "annotate": Command(
        module="roboscape.annotate.pipeline",
        config="Annotate",
        summary="Add depth and keypoint tracks beside a dataset.",
    ),
    "perturb": Command(
        module="roboscape.annotate.perturb.perturb",
        config="Perturb",
        summary="Plant known depth and track errors in a simulator's truth.",
    ),
    "clips": Command(
        module="roboscape.clips.index",
        config="IndexClips",
        summary="Cut a dataset into strided clips and keep the useful ones.",
    ),
    "card": Command(
        module="roboscape.clips.card",
        config="Card",
        summary="A page that shows what a dataset keeps, what it drops and why.",
    ),
    "train tokenizer": Command(
        module="roboscape.tokenizer.train",
        config="TokenizerRun",
        presets="roboscape.presets.tokenizer",
        summary="Learn to write frames as discrete tokens.",
    ),
    "train proprioception": Command(
        module="roboscape.controls.train",
        config="ProprioceptionRun",
        presets="roboscape.presets.proprioception",
        summary="Learn where commands bring the arm, from its recorded states.",
    ),
    "tokenize": Command(
        module="roboscape.tokens.build",
        config="Tokenize",
        summary="Write a dataset as a memory-mapped token store.",
    ),
    "import-tokens": Command(
        module="roboscape.tokens.import_1xgpt",
        config="ImportTokens",
        summary="Copy token folders of 1xgpt into a token store.",
    ),
    "train world-model": Command(
        module="roboscape.world_model.train",
        config="WorldModelRun",
        presets="roboscape.presets.world_model",
        summary="Learn to predict the next RGB and depth frame from actions.",
    ),
    "train state-reader": Command(
        module="roboscape.state_reading.train",
        config="StateReaderRun",
        summary="Learn to read the robot's state off a frame, for goals that are images.",
    ),
    "train decoder": Command(
        module="roboscape.rollout.train_decoder",
        config="DecoderRun",
        summary="Teach a checkpoint's decoder to show what its world model believes.",
    ),
    "train judge": Command(
        module="roboscape.judge.train",
        config="JudgeRun",
        summary="Learn to see whether a task is solved, on true and imagined frames.",
    ),
    "train policy compact": Command(
        module="roboscape.policies.compact.train",
        config="CompactPolicyRun",
        summary="Learn to act from demonstrations: a small policy for a laptop.",
    ),
    "train policy diffusion": Command(
        module="roboscape.policies.lerobot.train",
        config="DiffusionRun",
        summary="Learn to act by lerobot's Diffusion Policy, in lerobot's environment.",
    ),
    "train policy act": Command(
        module="roboscape.policies.lerobot.train",
        config="ActRun",
        summary="Learn to act by lerobot's ACT, in lerobot's environment.",
    ),
    "train policy smolvla": Command(
        module="roboscape.policies.lerobot.train",
        config="SmolVlaRun",
        summary="Fine-tune lerobot's SmolVLA, in lerobot's environment.",
    ),
    "train policy pi0": Command(
        module="roboscape.policies.lerobot.train",
        config="Pi0Run",
        summary="Fine-tune lerobot's pi0, in lerobot's environment.",
    ),
    "run-policy": Command(
        module="roboscape.policies.run",
        config="RunPolicy",
        summary="How often a policy succeeds, in the true simulator or in a learned one.",
    ),
    "serve-policy": Command(
        module="roboscape.policies.remote.serve",
        config="ServePolicy",
        summary="Serve a policy to openpi's clients and to run-policy.",
    ),
    "serve-world": Command(
        module="roboscape.policies.lerobot.world_server",
        config="ServeWorld",
        summary="Serve a simulated world to lerobot-eval.",
    ),
    "plan": Command(
        module="roboscape.planning.plan",
        config="Plan",
        summary="Act by imagination in the true simulator: rank a policy, or reach a goal.",
    ),
    "policy-eval": Command(
        module="roboscape.policy_evaluation.evaluate",
        config="PolicyEval",
        summary="Success rates in a true and an imagined world, and how far to trust them.",
    ),
    "bundle": Command(
        module="roboscape.rollout.pack",
        config="Pack",
        summary="Put a tokenizer and a world model together for release.",
    ),
    "at-frames": Command(
        module="roboscape.clips.at_frames",
        config="AtFrames",
        summary="Copy recordings in the form of imagined episodes: a row a frame, actions stacked.",
    ),
    "synthesize": Command(
        module="roboscape.synthesis.synthesize",
        config="Synthesize",
        summary="Imagine episodes for a policy to learn from, as a dataset.",
    ),
    "calibrate": Command(
        module="roboscape.synthesis.calibrate",
        config="Calibrate",
        summary="Thresholds that set implausible imagined episodes apart.",
    ),
    "export onnx": Command(
        module="roboscape.export.onnx",
        config="ExportOnnx",
        summary="Write a checkpoint as ONNX files, for browsers, robots and other languages.",
    ),
    "export page": Command(
        module="roboscape.export.page",
        config="ExportPage",
        summary="Write a folder of static files in which a checkpoint is driven in a browser.",
    ),
    "rollout": Command(
        module="roboscape.evaluate.rollout",
        config="Rollout",
        summary="Imagine an episode and write it beside the truth as a video.",
    ),
    "play": Command(
        module="roboscape.play.play",
        config="Play",
        summary="Drive a learned simulator in a browser, the true one beside it.",
    ),
    "serve-predictions": Command(
        module="roboscape.play.predictions",
        config="ServePredictions",
        summary="Serve imagined frames to WorldArena 2's evaluator, over HTTP.",
    ),
    "verify-synthetic": Command(
        module="roboscape.rollout.verify_synthetic",
        config="VerifySynthetic",
        summary="Check what an imagined dataset says of the model that imagined it.",
    ),
    "evaluate": Command(
        module="roboscape.evaluate.evaluate",
        config="Evaluate",
        summary="Measure imagined video and write a report.",
    ),
    "judge": Command(
        module="roboscape.human_evaluation.judge",
        config="Judge",
        summary="Let people compare recorded and imagined videos blindly, and count.",
    ),
    "reproduce table2": Command(
        module="roboscape.reproduce.table2",
        config="Table2",
        summary="The paper's ablations of depth and keypoints, with statistics.",
    ),
    "reproduce noise": Command(
        module="roboscape.reproduce.noise",
        config="Noise",
        summary="How much of the gain wrong depth and tracks leave.",
    ),
    "reproduce grid": Command(
        module="roboscape.reproduce.grid",
        config="Grid",
        summary="The weights of the keypoint losses, one at a time.",
    ),
    "reproduce sweep": Command(
        module="roboscape.reproduce.sweep",
        config="Sweep",
        summary="Model size against amount of data, with a fitted law.",
    ),
    "bench": Command(
        module="roboscape.bench.bench",
        config="Bench",
        summary="How fast this machine is, and how close the engine comes to its limits.",
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `roboscape`; exits with 2 for a wrong command and 1 for a stage's error."""
    words = sys.argv[1:] if arguments is None else arguments
    # Before a command's module imports torch.
    wait_without_spinning()
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"roboscape {version('roboscape')}\n")
        return
    name = command_in(words)
    if name is None:
        sys.exit(unknown(words))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("httpx", "httpx2"):
        # A line a request is too much.
        logging.getLogger(library).setLevel(logging.WARNING)
    config = parse(name, words[len(name.split()) :])
    keep_freed_memory()
    module = importlib.import_module(COMMANDS[name].module)
    try:
        module.run(config)
    except UserError as error:
        # It says what to do. Any other exception is a bug and keeps its traceback.
        logging.getLogger(__name__).error("roboscape %s: %s", name, error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def command_in(words: list[str]) -> str | None:
    """The command that the first words spell."""
    names = (" ".join(words[:count]) for count in (3, 2, 1))
    return next((name for name in names if name in COMMANDS), None)


def parse(name: str, flags: list[str]) -> Any:
    """Fill a command's configuration from its flags; `--help` prints them and exits."""
    import tyro

    command = COMMANDS[name]
    program = f"roboscape {name}"
    if command.presets:
        presets = importlib.import_module(command.presets).PRESETS
        named = {key: (describe(preset), preset()) for key, preset in presets.items()}
        return tyro.extras.overridable_config_cli(named, args=flags, prog=program)
    kind = getattr(importlib.import_module(command.module), command.config)
    return tyro.cli(kind, args=flags, prog=program)


def describe(preset: Any) -> str:
    """The first line of a preset's docstring."""
    return (preset.__doc__ or "").strip().splitlines()[0]


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "roboscape: a learned simulator of your robot.",
            "",
            "usage: roboscape COMMAND [flags]      roboscape COMMAND --help lists the flags",
            "",
            *rows,
            "",
        ]
    )


def unknown(words: list[str]) -> str:
    """The message for a command that does not exist."""
    asked = " ".join(words[:3] if words[:2] == ["train", "policy"] else words[:2])
    close = difflib.get_close_matches(asked, COMMANDS, n=1, cutoff=0.5)
    hint = f" Did you mean `roboscape {close[0]}`?" if close else ""
    return f"roboscape: there is no command `{asked}`.{hint} `roboscape --help` lists them all."


if __name__ == "__main__":
    main()
