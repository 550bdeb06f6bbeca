"""InternVL 3 through transformers, the paper's model for action semantics and key frames."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from roboscape.annotate.pretrained import HubWeights, choose_device, require_extra
from roboscape.annotate.segments.language import LanguageModel, segment_by_language
from roboscape.annotate.segments.protocol import RecordedMotion, Segment

WEIGHTS = HubWeights(
    repository="OpenGVLab/InternVL3-1B-hf",
    revision="014c0583a0d4bedf29fbe2dbff4f865eb998e171",
    files=(
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ),
    licence="Apache-2.0",
)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGE_TOKEN = "<IMG_CONTEXT>"


@dataclass(frozen=True, kw_only=True)
class InternVLSegmenter:
    """Slices an episode by InternVL's answers about evenly spread frames, greedily decoded."""

    language: LanguageModel = field(default_factory=LanguageModel)
    """`model` may name a folder with weights of this class, in the place of the pinned ones."""

    def __post_init__(self) -> None:
        """Raise `UserError` for missing weights before any work is done."""
        require_extra("transformers", what="InternVL")
        self._folder  # noqa: B018 - raises with the command that fetches the weights

    @property
    def name(self) -> str:
        """Name of the annotation folder: `segments_internvl`."""
        return "internvl"

    @property
    def version(self) -> str:
        """Repository and revision of the weights; the folder where they are others."""
        return self.language.model or WEIGHTS.version

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return self.language.settings

    def annotate(
        self, frames: UInt8[np.ndarray, "t h w 3"] | None, *, motion: RecordedMotion
    ) -> tuple[Segment, ...]:
        """Segments that cover the episode in order."""
        assert frames is not None
        return segment_by_language(self.ask, frames, motion=motion, language=self.language)

    @torch.inference_mode()
    def ask(self, images: UInt8[np.ndarray, "n h w 3"], question: str) -> str:
        """One question about some images, each shown as one tile."""
        tokenizer, model = self._tokenizer, self._model
        asked = tokenizer(self.conversation(len(images), question), return_tensors="pt")
        asked = asked.to(model.device)
        answer = model.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            pixel_values=as_tiles(images, side_px=self._side_px).to(model.device, model.dtype),
            max_new_tokens=self.language.answer_tokens,
            do_sample=False,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
            pad_token_id=tokenizer.pad_token_id,
        )
        spoken = answer[0, asked["input_ids"].shape[1] :]
        return tokenizer.decode(spoken, skip_special_tokens=True)

    def conversation(self, images: int, question: str) -> str:
        """The dialogue as InternVL 3 was trained on it, images first, up to the answer."""
        tile = f"<img>{_IMAGE_TOKEN * self._model.config.image_seq_length}</img>"
        shown = "".join(f"Frame {number}: {tile}\n" for number in range(1, images + 1))
        return f"<|im_start|>user\n{shown}{question}<|im_end|>\n<|im_start|>assistant\n"

    @cached_property
    def _folder(self) -> Path:
        return WEIGHTS.locate(Path(self.language.model) if self.language.model else None)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder)

    @cached_property
    def _model(self) -> Any:
        from transformers import InternVLForConditionalGeneration

        device = choose_device(self.language.device)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model: Any = InternVLForConditionalGeneration.from_pretrained(self._folder, dtype=dtype)
        return model.to(device).eval()

    @property
    def _side_px(self) -> int:
        return int(self._model.config.vision_config.image_size[0])


def as_tiles(
    images: UInt8[np.ndarray, "n h w 3"], *, side_px: int
) -> Float[Tensor, "n 3 side side"]:
    """Images as the vision tower takes them: square, with ImageNet's mean and deviation."""
    scaled = rearrange(torch.from_numpy(images), "n h w c -> n c h w").float() / 255
    tiles = F.interpolate(
        scaled, (side_px, side_px), mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 1)
    mean, deviation = (torch.tensor(value)[:, None, None] for value in (_MEAN, _DEVIATION))
    return (tiles - mean) / deviation
