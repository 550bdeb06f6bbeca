"""Clips of a dataset as a bundle imagines them, beside the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.clips.reader import ClipReader, Place
from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import Imagination
from roboscape.rollout.videos import check_convention
from roboscape.tokenizer.model import SoftCodes, rgb_to_image
from roboscape.tokenizer.passes import through


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
    """Which clips are imagined."""

    camera: str | None = None
    """The dataset's first one where not given."""
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
        camera, horizon = shape.camera or dataset.spec.cameras[0].name, shape.horizon
        reader = ClipReader(
            dataset=dataset,
            cameras=(camera,),
            length=horizon + 1,
            stride=bundle.controls.stride,
            depth=shape.depth or depth_source(dataset, camera),
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

    def drawn(self, count: int, *, coordinates: tuple[int, ...]) -> tuple[ImaginedClips, ...]:
        """Random clips, which follow from the coordinates of their draw."""
        chosen = numpy_generator_for(*coordinates).integers(len(self.places), size=count)
        return self.imagine([self.places[i] for i in chosen])

    @torch.no_grad()
    def imagine(self, places: list[Place]) -> tuple[ImaginedClips, ...]:
        """Imagine clips from their first frames under their recorded actions."""
        clips = [self.reader.read(place.episode, place.row) for place in places]
        (camera,), bundle = self.reader.chosen_cameras, self.bundle
        rgb = torch.from_numpy(np.stack([clip.frames[camera] for clip in clips]))
        images = [torch.stack([rgb_to_image(one) for one in rgb])]
        if bundle.world_model.config.modalities > 1:
            depths = [clip.depth_m[camera] for clip in clips]
            images.append(torch.stack([self._depth_image(depth_m, places) for depth_m in depths]))
        codes = torch.stack([self._codes(one) for one in images])
        controls = bundle.controls.encode(
            np.stack([clip.actions for clip in clips]),
            np.stack([clip.states[0] for clip in clips]),
            state_before=np.stack([clip.state_before for clip in clips]),
        )
        world = Imagination(bundle.world_model, batch=len(clips))
        given = codes[:, :, :1].to(world.device)
        world.reset(
            rgb=given[0],
            depth=given[1] if len(given) > 1 else None,
            controls=controls[:, :1].to(world.device),
        )
        frames = []
        for control in controls[:, 1:].unbind(dim=1):
            world.step(control.to(world.device))
            frames.append(world.newest)
        return tuple(
            ImaginedClips(
                truth=images[m][:, 1:],
                given=images[m][:, 0],
                codes=torch.stack([one.codes[m] for one in frames], dim=1).cpu(),
                soft=SoftCodes(
                    vectors=torch.stack([one.soft.vectors[m] for one in frames], dim=1).cpu(),
                    unchanged=torch.stack([one.soft.unchanged[m] for one in frames], dim=1).cpu(),
                ),
                true_codes=codes[m][:, 1:],
                given_codes=codes[m][:, 0],
            )
            for m in range(len(images))
        )

    def _depth_image(
        self, depth_m: Float[np.ndarray, "t h w"] | None, places: list[Place]
    ) -> Float[Tensor, "t 3 h w"]:
        """Depth as the tokenizer sees it."""
        if depth_m is None:
            raise UserError(
                f"this model imagines depth, and {self.reader.dataset.root} has none; estimate it "
                "with `roboscape annotate`"
            )
        return self.bundle.tokenizer.depth_to_image(torch.from_numpy(depth_m))

    def _codes(self, images: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b t n"]:
        tokenizer = self.bundle.tokenizer
        return through(tokenizer.encode, images.flatten(0, 1), tokenizer).unflatten(
            0, images.shape[:2]
        )
