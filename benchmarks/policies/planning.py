"""The full protocol of policy evaluation and planning, as commands; run as they are or printed.

    python benchmarks/policies/planning.py --policies runs/agent@{250..3000..250}    # prints them
    python benchmarks/policies/planning.py --policies runs/agent@{250..3000..250} --run

- `policy-eval`: at least 12 policies from useless to good, at least 100 starts each, both worlds.
- `plan --goal lift`: ranked proposals of one mediocre policy (40 to 60 %), over their number.
- `plan --goal state, image, pixels, depth, tokens`: reaching, over the number of samples.
- `closed_loop.py`: frames a second and seconds a decision.

Every part continues where it was interrupted. Hours on two cores: the true simulator's frames take
most of them.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

HERE = Path(__file__).parent
GOALS = ("state", "image", "pixels", "depth", "tokens")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What to measure."""

    policies: tuple[str, ...]
    """Policies from useless to good: folders, or RUN@STEP."""
    mediocre: str = ""
    """The one whose proposals are ranked; the middle one where not given."""
    output: Path = Path("runs/planning")
    """Folder of all results."""
    bundle: str = "lift"
    """What imagines."""
    episodes: int = 100
    """Starts of each policy, and of each way of planning."""
    seed: int = 802_000
    """Of the first start; from 900000 on it is a test, to be run once."""
    proposals: tuple[int, ...] = (1, 4, 16, 64)
    """Numbers of proposals."""
    samples: tuple[int, ...] = (16, 32, 64, 128)
    """Numbers of samples."""
    run: bool = False
    """Run the commands instead of printing them."""


def commands(protocol: Protocol) -> list[list[str]]:
    """All commands, in order."""
    starts = ["--episodes", str(protocol.episodes), "--seed", str(protocol.seed)]
    world = ["--world.bundle", protocol.bundle]
    output = protocol.output

    def roboscape(*words: str, folder: str) -> list[str]:
        return ["roboscape", *words, *world, *starts, "--output", str(output / folder)]

    found = [roboscape("policy-eval", "--policies", *protocol.policies, folder="policies")]
    middle = protocol.mediocre or protocol.policies[len(protocol.policies) // 2]
    for count in protocol.proposals:
        words = "plan", "--goal", "lift", "--policy", middle, "--proposals", str(count)
        found.append(roboscape(*words, folder=f"ranked_{count}"))
    for goal in GOALS:
        for count in protocol.samples:
            words = "plan", "--goal", goal, "--search.samples", str(count)
            found.append(roboscape(*words, folder=f"reach_{goal}_{count}"))
    return [
        *found,
        [
            sys.executable,
            str(HERE.parent / "speed" / "closed_loop.py"),
            "--bundle",
            protocol.bundle,
        ],
    ]


def main(protocol: Protocol) -> None:
    """Print or run."""
    for command in commands(protocol):
        print(shlex.join(command), flush=True)
        if protocol.run:
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main(tyro.cli(Protocol, description=__doc__))
