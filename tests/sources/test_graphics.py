import os
import subprocess
import sys

import pytest

PROGRAM = "from roboscape.sources.graphics import new_gl_context; new_gl_context(8, 8)"


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is Linux's")
@pytest.mark.parametrize(
    "broken",
    [
        # The vendors' EGL libraries are found through this folder: none is installed.
        {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent"},
        # MuJoCo's EGL backend refuses to load.
        {"PYOPENGL_PLATFORM": "glx"},
    ],
)
def test_missing_egl_names_the_packages(broken):
    environment = {**os.environ, **broken}
    environment.pop("MUJOCO_GL", None)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert ended.returncode != 0
    (said,) = [line for line in ended.stderr.splitlines() if "UserError: " in line]
    for word in ("libegl1", "libosmesa6", "MUJOCO_GL=osmesa", "MUJOCO_GL=egl"):
        assert word in said


def test_the_users_choice_of_backend_stays():
    program = "import roboscape.sources.graphics, os; print(os.environ['MUJOCO_GL'])"
    environment = {**os.environ, "MUJOCO_GL": "off"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ended.stdout.strip() == "off", ended.stderr


def test_pyopengl_is_silent_about_its_accelerators():
    program = (
        "import logging; logging.basicConfig(level=logging.INFO); "
        "from roboscape.sources.graphics import new_gl_context; new_gl_context(8, 8); "
        "import sys; sys.exit('OpenGL.acceleratesupport' not in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "accelerate" not in ended.stderr
