"""Clips of a dataset as a bundle imagines them, beside the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.clips.reader import Clip, ClipReader, Place
from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import imagine
from roboscape.rollout.videos import (
    cameras_of,
    check_convention,
    encode_videos,
    first_objects,
    stack_clips,
)
from roboscape.tokenizer.model import SoftCodes, rgb_to_image
from roboscape.tokens.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class ImaginedClips:
    """One modality of some imagined clips beside the truth. Axes: b clip, t imagined frame."""

    truth: Float[Tensor, "b t 3 h w"]
    """In [-1, 1]."""
    given: Float[Tensor, "b 3 h w"]
    codes: Int[Tensor, "b t n"]
    """The likeliest ones."""
    soft: SoftCodes
    """`b t n v` and `b t n`."""
    true_codes: Int[Tensor, "b t n"]
    given_codes: Int[Tensor, "b n"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The cameras, the depth source and the length of the imagined clips."""

    cameras: tuple[str, ...] = ()
    """Those of the bundle's training where none is named (`cameras_of`)."""
    depth: str | None = None
    """Its source; where not given: recorded depth, else the only annotator's, if there is any."""
    horizon: int
    """Imagined frames of a clip."""


class Imaginings:
    """Clips of a dataset as a bundle imagines them, made when they are needed."""

    def __init__(self, bundle: Bundle, reader: ClipReader, *, places: list[Place]) -> None:
        self.bundle, self.reader, self.places = bundle, reader, places

    @classmethod
    def of(cls, bundle: Bundle, root: Path, *, split: Split, shape: Shape) -> "Imaginings":
        """Those of one split: from every frame of training episodes, one after another of others.

        Raises:
            ValueError: recordings of another convention, or no clip that is long enough.
        """
        dataset = LeRobotDataset(root)
        check_convention(bundle, dataset)
        cameras, horizon = cameras_of(bundle, dataset, asked=shape.cameras), shape.horizon
        reader = ClipReader(
            dataset=dataset,
            cameras=cameras,
            length=horizon + 1,
            stride=bundle.controls.stride,
            depth=shape.depth or depth_source(dataset, *cameras),
        )
        every = reader.stride if split == "train" else horizon * reader.stride
        places = list(reader.places(split, every=every))
        if not places:
            raise UserError(
                f"{root} has no episode for {split} of {horizon + 1} frames at stride "
                f"{reader.stride}; record more, or lower --horizon"
            )
        return cls(bundle, reader, places=places)

    def first(self, count: int) -> tuple[ImaginedClips, ...]:
        """The first clips, one entry a modality."""
        return self.imagine(self.places[:count])

    def drawn(
        self, count: int, *, coordinates: tuple[int, ...], augmented: float = 0.0
    ) -> tuple[ImaginedClips, ...]:
        """Random clips, which follow from the coordinates of their draw.

        A share of them is seen in other crops and colours (`tokens/augment.py`).
        """
        generator = numpy_generator_for(*coordinates)
        chosen = [self.places[i] for i in generator.integers(len(self.places), size=count)]
        clips = [self.reader.read(place.episode, place.row) for place in chosen]
        for number, altered in enumerate(generator.random(count) < augmented):
            for view, camera in enumerate(self.reader.chosen_cameras if altered else ()):
                change = Augmentation.draw(*coordinates, number, view)
                clips[number] = change.apply(clips[number], camera)
        return self.imagine_clips(clips)

    def imagine(self, places: list[Place]) -> tuple[ImaginedClips, ...]:
        """Imagine clips from their first frames under their recorded actions.

        Raises:
            ValueError: the model imagines depth, and the recordings have none.
        """
        return self.imagine_clips([self.reader.read(p.episode, p.row) for p in places])

    @torch.no_grad()
    def imagine_clips(self, clips: list[Clip]) -> tuple[ImaginedClips, ...]:
        """The same of clips that were read, and perhaps altered."""
        bundle, with_depth = self.bundle, self.bundle.world_model.config.modalities > 1
        truth = stack_clips(clips, self.reader.chosen_cameras)
        if not with_depth:
            truth = replace(truth, depth_m=None)
        elif truth.depth_m is None:
            raise UserError(
                f"this model imagines depth, and {self.reader.dataset.root} has none; estimate it "
                "with `roboscape annotate`"
            )
        codes, device = encode_videos(bundle.tokenizer, truth), bundle.tokenizer.device
        given = codes.map(lambda x: x[:, :1].to(device))
        controls = bundle.controls.encode(
            np.stack([clip.actions for clip in clips]),
            np.stack([clip.states[0] for clip in clips]),
            state_before=np.stack([clip.state_before for clip in clips]),
            task=[clip.task for clip in clips],
            objects=first_objects(bundle, given),
        )
        frames = list(
            imagine(
                bundle.world_model, rgb=given.rgb, depth=given.depth, controls=controls.to(device)
            )
        )
        rgb = beside_truth(
            by_clip(rgb_to_image, torch.from_numpy(truth.rgb)),
            codes.rgb,
            [(one.rgb_codes, one.rgb_soft) for one in frames],
        )
        if truth.depth_m is None or codes.depth is None:
            return (rgb,)
        depth = beside_truth(
            by_clip(bundle.tokenizer.depth_to_image, torch.from_numpy(truth.depth_m)),
            codes.depth,
            [
                (one.depth_codes, one.depth_soft)
                for one in frames
                if one.depth_codes is not None and one.depth_soft is not None
            ],
        )
        return rgb, depth


def by_clip(change: Callable[[Tensor], Tensor], clips: Tensor) -> Float[Tensor, "b t 3 h w"]:
    """A per-frame map of all frames of all clips."""
    return change(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])


def beside_truth(
    images: Float[Tensor, "b f 3 h w"],
    codes: Int[Tensor, "b f n"],
    imagined: Sequence[tuple[Int[Tensor, "b n"], SoftCodes]],
) -> ImaginedClips:
    """One modality: true frames and tokens, the given ones first, and what was imagined."""
    return ImaginedClips(
        truth=images[:, 1:],
        given=images[:, 0],
        codes=torch.stack([chosen for chosen, _ in imagined], dim=1).cpu(),
        soft=SoftCodes.stack([soft for _, soft in imagined], dim=1).map(Tensor.cpu),
        true_codes=codes[:, 1:],
        given_codes=codes[:, 0],
    )
