"""Models on disk: safetensors and a JSON configuration, never a pickle; found by name."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roboscape.core.config import load_config, save_config
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path

log = logging.getLogger(__name__)

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BUNDLED = Path(__file__).parents[1] / "bundles"
"""Folder of the models that come with the package."""


def save_weights(module: nn.Module, config: object, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` into `folder`; each file is whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    write_tensors(state, folder / WEIGHTS)
    save_config(config, folder / CONFIG)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file, whole or not at all, with the permissions of any other file."""
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, temporary)
        # The library makes files that their owner alone may read.
        temporary.chmod(mode)


def load_model(make: Callable[[Config], Model], config: type[Config], folder: Path) -> Model:
    """The model in `folder`, to be used and not trained: in evaluation mode, without gradients.

    Args:
        make: Its class, or what else makes a model of a configuration.
        config: The kind of its configuration.
        folder: As written by `save_pretrained`.

    Raises:
        ValueError: there is none, or it is broken.
    """
    model = make(read_config(config, folder))
    load_weights(model, folder)
    return model.eval().requires_grad_(requires_grad=False)


def read_config(kind: type[Config], folder: Path) -> Config:
    """The configuration that was saved beside the weights in `folder`."""
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} holds no {CONFIG}; expected a folder written by save_pretrained")
    return load_config(kind, folder / CONFIG)


def load_weights(module: nn.Module, folder: Path, *, newer: tuple[str, ...] = ()) -> None:
    """Fill `module` from `folder`.

    Args:
        module: What to fill.
        folder: As written by `save_pretrained`.
        newer: Beginnings of names of parts that the file need not have: parts that were added to a
            model later, and change nothing until they are trained. They stay as they are.

    Raises:
        ValueError: no weights, a truncated file, or tensors that disagree with the configuration;
            the message names the first tensor that differs and both shapes.
    """
    path = folder / WEIGHTS
    check_shapes(module, path, newer=newer)
    own, found = module.state_dict(), load_file(path)
    if missing := sorted(own.keys() - found.keys()):
        log.info("%s does not hold, so these begin anew: %s", path, ", ".join(missing))
    module.load_state_dict(own | found)


def check_shapes(module: nn.Module, path: Path, *, newer: tuple[str, ...] = ()) -> None:
    """Compare a weight file's tensors with the module's, by name and shape, before reading any."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = read_shapes(path)
    for name in sorted(expected.keys() | found.keys()):
        absent = name not in found and name.startswith(newer or ("\0",))
        if expected.get(name) != found.get(name) and not absent:
            raise UserError(
                f"{path} disagrees with the {CONFIG} beside it: tensor `{name}` should have shape "
                f"{expected.get(name, 'none (not part of this model)')}, the file has "
                f"{found.get(name, 'no such tensor')}. Use the configuration of its training"
            )


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a weight file's tensors by name.

    Raises:
        ValueError: there is no such file, or it is truncated.
    """
    if not path.is_file():
        raise UserError(
            f"{path.parent} holds no {WEIGHTS}; expected a folder written by save_pretrained"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{path} cannot be read ({error}); the file is truncated or not safetensors. "
            "Copy or download it again"
        ) from error


def resolve(name: str | Path, *, subfolder: str = "") -> Path:
    """The local folder of a model.

    Args:
        name: a model that comes with the package (`lift`, or a part of it, `lift/tokenizer`), else
            a folder (`./lift` where it is named like one of those), else a hub repository
            (`owner/name`).
        subfolder: a part of it.

    Raises:
        ValueError: there is none of these, or an interrupted download; it says what to try.
    """
    if str(name)[:1] not in ("", ".", "/") and (BUNDLED / name).is_dir():
        return BUNDLED / name / subfolder
    folder = Path(name)
    if folder.is_dir():
        return folder / subfolder
    try:
        return Path(snapshot_download(str(name))) / subfolder
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"`{name}` is neither a bundled model ({', '.join(bundled_models())}), a folder here "
            f"nor a hub repository that could be fetched "
            f"({type(error).__name__}: {error}). An interrupted download resumes: run the same "
            f"command again, or `hf download {name}` and pass the folder that it prints"
        ) from error


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir())


def halve_weights(folder: Path, *, keep: tuple[str, ...] = ()) -> None:
    """Rewrite `model.safetensors` with 16-bit floats, half the size; loading makes them 32-bit.

    Args:
        folder: As written by `save_pretrained`.
        keep: Beginnings of names of tensors that stay exact.
    """
    path = folder / WEIGHTS
    halved = {
        name: tensor.half()
        if tensor.is_floating_point() and not name.startswith(keep or ("\0",))
        else tensor
        for name, tensor in load_file(path).items()
    }
    write_tensors(halved, path)
