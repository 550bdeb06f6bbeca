"""One process of a distributed test: carries out jobs, each in a process group of its own."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from roboscape.presets.world_model import debug
from roboscape.tokens.store import TokenStore
from roboscape.training.learner import Learner, with_totals
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import Execution, init_distributed, whole
from roboscape.world_model import train
from roboscape.world_model.objective import MaskingConfig


def tiny_run(tokens, output, *, steps=4, objective="next_frame", **changes):
    """Four clips a step; half of the steps self-predict, none waits for that."""
    preset = debug()
    shape = replace(preset.model, max_frames=6, width=16, objective=objective)
    return replace(
        preset,
        tokens=Path(tokens),
        output=Path(output),
        device="cpu",
        precision="fp32",
        batch_size=4,
        model=shape,
        masking=MaskingConfig(self_predicted=0.5, self_predicted_after=0),
        fit=replace(preset.fit, steps=steps, log_every=1, evaluate_every=2, checkpoint_every=2),
        **changes,
    )


def first_gradients(config, path):
    """Loss and gradients of one step from a model that is past its zero initialisation."""
    with init_distributed(config.parallel, device="cpu") as ranks:
        store = TokenStore(config.tokens)
        model = train.make_model(config, store=store)
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        optimizer = make_optimizer(model, config=config.optimizer)
        execution = Execution(
            ranks=ranks, blocks=train.block_names(model), recompute=config.recompute
        )
        learner = Learner.prepare(model, optimizer, config=config.fit, execution=execution)
        batches = train.make_batches(model, store, config=config, ranks=ranks)
        step = train.make_step(model, config=config)
        number = next(n for n in range(9) if batches(n)[0].content.self_predicted)
        parts = with_totals(batches(number), ranks=ranks)
        losses = [learner.learn_from(parts, i, step)[0] for i in range(len(parts))]
        found = {"loss": ranks.sum(torch.stack(losses).sum())}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[name] = whole(parameter.grad).clone()
        if ranks.is_main:
            save_file(found, path)


def main(jobs):
    for port, job in jobs:
        os.environ["MASTER_PORT"] = str(port)
        kind = job.pop("kind")
        if kind == "gradients":
            path = job.pop("path")
            first_gradients(tiny_run(**job), path)
        else:
            stop_at = job.pop("stop_at", None)
            config = tiny_run(**job)
            if stop_at is None:
                train.train(config)
            else:
                stop(config, number=stop_at)


def stop(config, *, number):
    """Train until a step, and break there as after a kill: nothing is saved on the way out."""
    make_step = train.make_step

    class Killed(BaseException):
        pass

    def breaking(*args, **kwargs):
        step = make_step(*args, **kwargs)

        def broken(microbatch):
            if microbatch.content.step == number:
                raise Killed
            return step(microbatch)

        return broken

    train.make_step = breaking
    try:
        train.train(config)
    except Killed:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    finally:
        train.make_step = make_step


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(sys.argv[1]))
