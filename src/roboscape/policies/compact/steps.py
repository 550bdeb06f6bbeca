"""Policies of single steps of a training: one run is a set of policies from useless to good."""

from pathlib import Path

from safetensors.torch import load_file

from roboscape.core.config import load_config
from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.compact.samples import policy_config
from roboscape.policies.compact.settings import CompactPolicyRun
from roboscape.policies.compact.tokens import TOKENIZER
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.state_reader import StateReader
from roboscape.training.checkpoint import WHOLE, below, checkpoints


def policy_of_step(run: Path, step: int, *, device: str = AUTO) -> CompactPolicy:
    """The policy of a checkpoint: its averaged weights, the plain ones where there is no average.

    Args:
        run: folder of a `roboscape train policy compact`.
        step: of one of its checkpoints (`--fit.keep-checkpoints` says how many are kept).
        device: where it computes.

    Raises:
        ValueError: no such run, or no checkpoint of this step.
    """
    config = load_config(CompactPolicyRun, run / "config.json")
    found = {int(path.name.split("_")[1]): path for path in checkpoints(run / "checkpoints")}
    if step not in found:
        raise UserError(
            f"{run} has no checkpoint of step {step}; it has {', '.join(map(str, found)) or 'none'}"
            ". A run keeps its newest two unless it was trained with --fit.keep-checkpoints"
        )
    tensors = load_file(found[step] / WHOLE)
    tokenizer = Tokenizer.from_pretrained(run, subfolder=TOKENIZER) if config.tokenizer else None
    reader = StateReader.from_pretrained(config.reader) if config.reader else None
    dataset = LeRobotDataset(config.dataset)
    shape = policy_config(config, dataset, tokenizer=tokenizer, reader=reader)
    network = CompactPolicyNetwork(shape)
    network.load_state_dict(below(tensors, "average/") or below(tensors, "model/"))
    network.requires_grad_(requires_grad=False)
    return CompactPolicy(network, tokenizer=tokenizer, device=device)
