"""Tokens of a rollout from those of its prompt, with nothing of the simulator between."""

import torch

from roboscape.rollout.imagine import imagine
from roboscape.rollout.sampling import GREEDY
from roboscape.rollout.videos import VideoCodes


def whole_rollout(bundle, prompt: VideoCodes, controls, *, sampling=GREEDY, seed=0) -> VideoCodes:
    """The prompt's frames, followed by imagined ones up to the length of the control signals."""
    given = {"rgb": prompt.rgb, "depth": prompt.depth, "controls": controls}
    frames = list(imagine(bundle.world_model, **given, sampling=sampling, seed=seed))
    rgb = torch.cat([prompt.rgb, torch.stack([f.rgb_codes for f in frames], dim=1)], dim=1)
    if bundle.world_model.config.modalities == 1:
        return VideoCodes(rgb=rgb, depth=None)
    depth = torch.stack([f.depth_codes for f in frames], dim=1)
    return VideoCodes(rgb=rgb, depth=torch.cat([prompt.depth, depth], dim=1))
