#!/usr/bin/env bash
# Installs lerobot into .venv-lerobot: it needs other versions of Python, torch and NumPy than roboscape.
set -euo pipefail
environment=.venv-lerobot
requirement="lerobot[training,diffusion,smolvla]==0.6.1"

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

find_python() {
    local pyenv="${PYENV_ROOT:-$HOME/.pyenv}/versions"
    local candidate
    for candidate in ${LEROBOT_PYTHON:-} python3.12 python3.13 python3 "$pyenv"/3.12*/bin/python "$pyenv"/3.13*/bin/python; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    cat >&2 <<'TEXT'
lerobot 0.6.1 needs Python 3.12 or newer, and none was found (python3.12, python3.13, pyenv).
Install one (for example `apt-get install python3.12-venv` or `pyenv install 3.12`) and run

    make lerobot LEROBOT_PYTHON=/path/to/python3.12

Nothing else in roboscape needs it.
TEXT
    exit 1
fi

echo "installing $requirement with $("$python" --version) into $environment (5 to 8 GB, some minutes)"
test -x "$environment/bin/python" || "$python" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check "$requirement" pytest msgpack websockets jaxtyping dacite
"$environment/bin/python" -c 'from lerobot.datasets.lerobot_dataset import LeRobotDataset'
echo "done; \`make test-lerobot\` proves that both programs open each other's datasets"
