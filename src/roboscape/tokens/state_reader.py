"""The state reader: from the tokens of one frame to the robot's state, or to where objects are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.controls.signals import one_where_still
from roboscape.core.errors import UserError
from roboscape.core.pretrained import load_model, resolve, save_weights
from roboscape.tokenizer.codes import MISSING, code_to_vectors

OBJECT_READER = "object_reader"
"""Folder of the reader of objects in a bundle and in a token store."""


@dataclass(frozen=True, kw_only=True)
class StateReaderConfig:
    """The settings of a state reader: what it reads, and its size."""

    state_names: tuple[str, ...]
    """One a dimension of the state."""
    grid: tuple[int, int]
    """Rows and columns of tokens in a frame, all its views below each other."""
    code_bits: int
    """Of a token."""
    encoder_sha256: str = ""
    """Hash of the encoder whose tokens it reads."""
    width: int = 48
    """Channels."""
    keypoints: int = 32
    """Places in the frame whose coordinates are read."""

    def __post_init__(self) -> None:
        """Refuse a reader of nothing."""
        if not self.state_names or min(*self.grid, self.code_bits, self.width, self.keypoints) < 1:
            raise UserError(
                "expected states, and a grid, code_bits, width and keypoints of 1 or more, got "
                f"{self}"
            )


class TokenFeatures(nn.Module):
    """A small convolutional network over the code vectors of a frame; tokens may be missing.

    Places come out of a spatial softmax (Finn et al. 2016, arXiv 1509.06113): a channel's weights
    over the grid, and the mean coordinates under them.
    """

    def __init__(
        self, *, grid: tuple[int, int], code_bits: int, kinds: int, width: int, keypoints: int
    ) -> None:
        """Make one.

        Args:
            grid: rows and columns of tokens.
            code_bits: of a token.
            kinds: of tokens at every place: RGB alone (1), or depth as well (2).
            width: channels.
            keypoints: places in the frame whose coordinates are read.
        """
        super().__init__()
        rows, columns = grid
        self.code_bits, self.rows = code_bits, rows
        self.size = 2 * keypoints + 2 * width
        """Numbers that a frame becomes."""
        self.embed = nn.Conv2d(kinds * code_bits, width, 1)
        self.place = nn.Parameter(torch.zeros(width, rows, columns))
        self.layers = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.GELU(), nn.Conv2d(width, width, 3, padding=1))
            ),
            nn.GELU(),
        )
        self.heat = nn.Conv2d(width, keypoints, 1)
        nn.init.normal_(self.place, std=0.02)
        down, right = torch.meshgrid(
            torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"
        )
        self.register_buffer("coordinates", torch.stack([down, right]), persistent=False)

    def features(self, *kinds: Int[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """What is read off frames: places, then mean and largest of every channel.

        Args:
            kinds: tokens of frames, row by row, of each kind; -1 where there is none.
        """
        planes = torch.cat([self._vectors(codes) for codes in kinds], dim=1)
        features = self.layers(self.embed(planes) + self.place)
        heat = rearrange(self.heat(features), "b k y x -> b k (y x)").softmax(dim=-1)
        where = rearrange(self.get_buffer("coordinates"), "c y x -> c (y x)")
        places = torch.einsum("bkn,cn->bkc", heat, where.to(heat.dtype)).flatten(1)
        return torch.cat([places, features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=-1)

    def _vectors(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b v y x"]:
        """Code vectors as planes; zero where there is no code."""
        vectors = code_to_vectors(codes.clamp(min=0), code_bits=self.code_bits)
        vectors = vectors * (codes != MISSING).unsqueeze(-1)
        return rearrange(vectors, "b (y x) v -> b v y x", y=self.rows)


class StateReader(TokenFeatures):
    """A small network from the tokens of a frame to numbers; depth may be missing."""

    def __init__(self, config: StateReaderConfig) -> None:
        super().__init__(
            grid=config.grid,
            code_bits=config.code_bits,
            kinds=2,
            width=config.width,
            keypoints=config.keypoints,
        )
        self.config = config
        states = len(config.state_names)
        self.head = nn.Sequential(
            nn.LayerNorm(self.size), nn.Linear(self.size, 128), nn.GELU(), nn.Linear(128, states)
        )
        self.register_buffer("state_mean", torch.zeros(states))
        self.register_buffer("state_std", torch.ones(states))

    def set_deviations(self, states: Float[np.ndarray, "n s"]) -> None:
        """Take over mean and deviation of recorded states."""
        self.get_buffer("state_mean").copy_(torch.from_numpy(states.mean(axis=0)))
        self.get_buffer("state_std").copy_(torch.from_numpy(one_where_still(states.std(axis=0))))

    def forward(
        self, rgb: Int[Tensor, "b n"], depth: Int[Tensor, "b n"] | None
    ) -> Float[Tensor, "b s"]:
        """States in deviations from the mean.

        Args:
            rgb: tokens of frames, row by row, view by view.
            depth: the same of depth; None, or -1 in a frame, where there is none.
        """
        depth = torch.full_like(rgb, MISSING) if depth is None else depth
        return self.head(self.features(rgb, depth))

    def normalize(self, states: Float[Tensor, "b s"]) -> Float[Tensor, "b s"]:
        """States in deviations from the mean."""
        return (states - self.get_buffer("state_mean")) / self.get_buffer("state_std")

    def stored(
        self, rgb: Int[Tensor, "b n"], depth: Int[Tensor, "b n"] | None
    ) -> Float[Tensor, "b s"]:
        """The states of frames, stored units; arguments as in `forward`."""
        return self(rgb, depth) * self.get_buffer("state_std") + self.get_buffer("state_mean")

    @torch.no_grad()
    def read(
        self, rgb: Int[Tensor, "b n"], depth: Int[Tensor, "b n"] | None = None
    ) -> Float[np.ndarray, "b s"]:
        """The states of frames, stored units."""
        return self.stored(rgb, depth).cpu().numpy()

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, subfolder: str = "") -> "StateReader":
        """Load from a folder or a hub repository, ready to read."""
        return load_model(cls, StateReaderConfig, resolve(name, subfolder=subfolder))
