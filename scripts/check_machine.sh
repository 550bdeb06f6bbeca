#!/usr/bin/env bash
# Says clearly what is missing before anything is installed.
set -u
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "roboscape needs Python 3.11 or newer; \`$python\` is $("$python" --version 2>&1)." >&2
    echo "Install it and run: make PYTHON=python3.11 ..." >&2
    exit 1
fi
if ! command -v gcc >/dev/null; then
    echo "roboscape needs gcc for one dependency (Debian/Ubuntu: apt-get install build-essential)." >&2
    exit 1
fi
# MuJoCo renders through EGL; the library is opened by name, so ask the loader as it does.
if ! "$python" -c 'import ctypes; ctypes.CDLL("libEGL.so.1")' 2>/dev/null; then
    if "$python" -c 'import ctypes; ctypes.CDLL("libOSMesa.so.8")' 2>/dev/null; then
        echo "libEGL is missing; use \`export MUJOCO_GL=osmesa\` before make." >&2
    fi
    cat >&2 <<'TEXT'
The graphics libraries that MuJoCo renders with are missing. On Debian/Ubuntu:

    sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6

No GPU and no screen are needed.
TEXT
    [ "${MUJOCO_GL:-egl}" = osmesa ] || exit 1
fi
