"""Scores that say how believable an episode is; the higher, the less.

An episode is read again, whatever made it: its frames are encoded, and a checkpoint predicts every
frame from the one before it and from the actions that the episode claims. So a frame that the
actions do not explain is a surprise, whether it was imagined, spliced or recorded.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from roboscape.annotate.tracks.protocol import LucasKanade, grid_points
from roboscape.core.errors import UserError
from roboscape.dataset.frame_actions import FrameEpisode
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import Imagination, stack_prompt
from roboscape.rollout.videos import VideoCodes, Videos, encode_videos, stack_views
from roboscape.synthesis.reach import ArmRange
from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.model import WorldModel

TRACKER = LucasKanade(points_per_side=16)
CHANGED_LEVEL = 30
"""Difference of a colour level from the first frame above which a pixel's colour has changed."""
CHANGED_DEPTH = 0.03
"""Relative difference of depth from the first frame above which a pixel's depth has changed."""
SMALLEST_CHANGE = 0.01
"""Share of an image that must have changed before colour and depth are compared."""


@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """The scores of one episode; of each, less is more plausible."""

    entropy: float
    """Nats a token of RGB that the checkpoint was in doubt by, given frame and actions; mean."""
    surprise: float
    """Nats a token of RGB that what is shown was unexpected by; mean over frames."""
    surprise_peak: float
    """The same of the frame that was least expected."""
    depth_surprise_peak: float
    """The same of depth; 0 where the checkpoint imagines none."""
    depth_mismatch: float
    """One minus the overlap (intersection over union) of where colour and where depth differ from
    the first frame; 0 without depth or motion."""
    lost_tracks: float
    """Largest share of a grid's points that Lucas-Kanade loses from one frame to the next."""
    range_excess: float
    """How far the arm's state leaves the range of recordings, in deviations."""


SCORES: tuple[str, ...] = tuple(Plausibility.__dataclass_fields__)
"""Names of the scores."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The largest scores of episodes that count as plausible, from `roboscape calibrate`."""

    checkpoint: str
    """SHA-256 of the checkpoint that the scores are of."""
    largest: dict[str, float]
    """By name of the score."""
    range: ArmRange
    """Of the recordings' states."""
    kept: float
    """Share of properly imagined episodes that all thresholds together keep."""
    dataset: str = ""
    """Recordings that they were set on."""

    def reasons(self, found: Plausibility) -> list[str]:
        """The reasons why an episode is implausible; none where it is plausible."""
        scores = asdict(found)
        return [
            f"{name} {scores[name]:.3g} > {limit:.3g}"
            for name, limit in self.largest.items()
            if not scores[name] <= limit
        ]


def plausibility(
    bundle: Bundle,
    episodes: Sequence[FrameEpisode],
    *,
    state_range: ArmRange | None,
    cameras: Sequence[str],
    first_states: Sequence[np.ndarray] | None = None,
) -> list[Plausibility]:
    """The scores of some episodes of equal length.

    Args:
        bundle: The checkpoint that reads them, prepared for a device.
        episodes: With frames of the bundle's cameras, and depth if it imagines depth.
        state_range: Of recorded states; no state counts as far without one.
        cameras: The bundle's views, from top to bottom.
        first_states: Where the arms began; the episodes' own first states where not given.

    Raises:
        ValueError: an episode of one frame, of another length, or without the depth that the
            checkpoint reads.
    """
    lengths = {len(one) for one in episodes}
    if len(lengths) != 1 or lengths.pop() < 2:
        raise UserError(
            "expected episodes of one length of at least 2 frames, got "
            f"{sorted(len(one) for one in episodes)}"
        )
    videos = videos_of(bundle, episodes, cameras=cameras)
    begun = [one.state[0] for one in episodes] if first_states is None else first_states
    read = read_again(bundle, episodes, videos, first_states=begun)
    return [
        Plausibility(
            entropy=float(read.entropy[i].mean()),
            surprise=float(read.surprise[0, i].mean()),
            surprise_peak=float(read.surprise[0, i].max()),
            depth_surprise_peak=float(read.surprise[1, i].max()) if len(read.surprise) > 1 else 0.0,
            depth_mismatch=depth_mismatch(one, cameras[0]),
            lost_tracks=lost_tracks(one.rgb[cameras[0]]),
            range_excess=range_excess(one, state_range),
        )
        for i, one in enumerate(episodes)
    ]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A checkpoint's reading of episodes. Axes: m modality, b episode, t frame."""

    surprise: Float[np.ndarray, "m b t"]
    """Mean over a frame's tokens of -log p(token); frame 0 is given, so t counts from frame 1."""
    entropy: Float[np.ndarray, "b t"]
    """Mean over a frame's RGB tokens of the prediction's entropy."""


def read_again(
    bundle: Bundle,
    episodes: Sequence[FrameEpisode],
    videos: Videos,
    *,
    first_states: Sequence[np.ndarray],
) -> Reading:
    """Predict every frame of some episodes from the frame before it and the actions."""
    codes = encode_videos(bundle.tokenizer, videos)
    actions = rearrange(np.stack([one.actions[:-1] for one in episodes]), "b t k a -> b (t k) a")
    controls = bundle.controls.encode(
        actions,
        np.stack(first_states),
        task=[one.task for one in episodes],
    )
    return read_tokens(bundle.world_model, codes, controls=controls)


@torch.no_grad()
def read_tokens(
    model: WorldModel, codes: VideoCodes, *, controls: Float[Tensor, "b t c"]
) -> Reading:
    """Predict every frame of tokenized videos from the true frame before it and the control.

    Args:
        model: In evaluation mode, on any device.
        codes: Tokens of t frames.
        controls: Normalised control signals; row t led into frame t.
    """
    engine = Imagination(model, batch=len(codes.rgb))
    tokens = stack_prompt(model, rgb=codes.rgb, depth=codes.depth).to(engine.device)
    controls = controls.to(engine.device)
    engine.reset(
        rgb=codes.rgb[:, :1].to(engine.device),
        depth=None if codes.depth is None else codes.depth[:, :1].to(engine.device),
        controls=controls[:, :1],
    )
    surprises, entropies = [], []
    for frame in range(1, tokens.shape[2]):
        true = tokens[:, :, frame]
        surprise, entropy = _expected(engine, true, control=controls[:, frame])
        surprises.append(surprise)
        entropies.append(entropy)
    return Reading(
        surprise=torch.stack(surprises, dim=-1).cpu().numpy(),
        entropy=torch.stack(entropies, dim=-1).cpu().numpy(),
    )


def _expected(
    engine: Imagination, true: Int[Tensor, "m b n"], *, control: Float[Tensor, "b c"]
) -> tuple[Float[Tensor, "m b"], Float[Tensor, " b"]]:
    """Surprise and entropy of a frame; the engine goes on from what is true, not from its guess."""
    model = engine.model
    hidden = torch.ones_like(true, dtype=torch.bool)
    inputs = engine.inputs(torch.zeros_like(true), hidden, control=control)
    surprises, entropies = [], []
    for modality, features in enumerate(engine.features(inputs, turn="next")):
        logits = rearrange(
            model.frame_logits(features, modality=modality), "b 1 n f s -> b n f s"
        ).float()
        log_p = logits.log_softmax(dim=-1)
        groups = split_factors(
            true[modality], code_bits=model.config.code_bits, factors=logits.shape[-2]
        )
        chosen = log_p.gather(-1, groups.unsqueeze(-1)).squeeze(-1)
        surprises.append(-chosen.sum(dim=-1).mean(dim=-1))
        entropies.append(-(log_p.exp() * log_p).sum(dim=(-2, -1)).mean(dim=-1))
    engine.newest = replace(engine.newest, codes=true)
    if engine.objective.needs_clean_pass:
        clean = engine.inputs(true, torch.zeros_like(hidden), control=control)
        engine.features(clean, turn="replace")
    return torch.stack(surprises), entropies[0]


def videos_of(
    bundle: Bundle, episodes: Sequence[FrameEpisode], *, cameras: Sequence[str]
) -> Videos:
    """The frames of some episodes as a bundle reads them.

    Raises:
        ValueError: a camera is missing, or its depth where the bundle reads depth.
    """
    with_depth = bundle.world_model.config.modalities > 1
    for one in episodes:
        known = one.depth_m if with_depth else one.rgb
        if missing := [name for name in cameras if name not in known]:
            raise UserError(
                f"the checkpoint reads {'RGB and depth' if with_depth else 'RGB'} of "
                f"{', '.join(cameras)}, and the episode lacks that of {', '.join(missing)}"
            )
    rgb = [stack_views([one.rgb[name] for name in cameras]) for one in episodes]
    depth_m = [
        stack_views([one.depth_m[name] for name in cameras]) for one in episodes if with_depth
    ]
    return Videos(rgb=np.stack(rgb), depth_m=np.stack(depth_m) if depth_m else None)


def depth_mismatch(episode: FrameEpisode, camera: str) -> float:
    """One minus the mean overlap of changed colour and changed depth, over frames that changed."""
    if camera not in episode.depth_m:
        return 0.0
    colour, depth = changed(episode.rgb[camera], episode.depth_m[camera])
    both, either = (colour & depth).mean(axis=(1, 2)), (colour | depth).mean(axis=(1, 2))
    moved = either > SMALLEST_CHANGE
    return float(1 - (both[moved] / either[moved]).mean()) if moved.any() else 0.0


def changed(
    rgb: UInt8[np.ndarray, "t h w 3"], depth_m: Float[np.ndarray, "t h w"]
) -> tuple[Bool[np.ndarray, "t h w"], Bool[np.ndarray, "t h w"]]:
    """The pixels whose colour, and whose depth, differ from the first frame."""
    colour = np.abs(rgb.astype(np.int16) - rgb[:1].astype(np.int16)).max(axis=-1) > CHANGED_LEVEL
    depth = np.abs(np.log(np.maximum(depth_m, 1e-3) / np.maximum(depth_m[:1], 1e-3)))
    return colour, depth > CHANGED_DEPTH


def lost_tracks(rgb: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Largest share of a grid's points that are lost from one frame to the next."""
    height, width = rgb.shape[1:3]
    grid = grid_points(height, width, side=TRACKER.points_per_side)
    survive = [
        TRACKER.follow(rgb[t : t + 2], points_px=grid).visible[1].mean()
        for t in range(len(rgb) - 1)
    ]
    return float(1 - min(survive))


def range_excess(episode: FrameEpisode, state_range: ArmRange | None) -> float:
    """The distance of the arm's state from a range, in deviations; 0 without state or range."""
    if state_range is None or not episode.state.shape[1]:
        return 0.0
    return float(state_range.excess(episode.state.astype(np.float64)))
