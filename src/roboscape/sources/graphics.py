"""MuJoCo, imported with a graphics backend that needs no screen."""

import importlib
import logging
import os
import sys
from types import ModuleType
from typing import Any

from roboscape.core.errors import UserError

_HELP = (
    "MuJoCo cannot render without a screen here: MUJOCO_GL={backend} failed ({error}). On Debian "
    "or Ubuntu install `libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6` (apt-get install ...), or "
    "render in software with the environment variable MUJOCO_GL=osmesa."
)


# PyOpenGL says on import that it works without its optional accelerators.
logging.getLogger("OpenGL.acceleratesupport").setLevel(logging.WARNING)


def import_mujoco() -> ModuleType:
    """Import MuJoCo; on Linux with EGL unless the environment variable MUJOCO_GL says otherwise.

    Raises:
        ValueError: MuJoCo is not installed, or its graphics backend does not load.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
        # Mesa's software renderer is fastest here inside the simulating thread: no hand-over.
        os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise UserError(
            "this needs the simulators; install them with `pip install 'roboscape[sim]'`"
        ) from error
    except Exception as error:
        raise UserError(_help(error)) from error


def new_gl_context(height: int, width: int) -> Any:
    """An off-screen OpenGL context, made current.

    Raises:
        ValueError: the graphics backend does not start.
    """
    try:
        context = mujoco.gl_context.GLContext(width, height)
    except Exception as error:
        raise UserError(_help(error)) from error
    context.make_current()
    return context


def _help(error: Exception) -> str:
    return _HELP.format(backend=os.environ.get("MUJOCO_GL", "(unset)"), error=error)


mujoco = import_mujoco()
