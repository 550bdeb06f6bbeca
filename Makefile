# roboscape: `make demo` shows it, `make test` checks it. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export MUJOCO_GL ?= egl

.PHONY: help demo quickstart play-page test check fast slow form mutants format browser lerobot test-lerobot clean

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt scripts/check_machine.sh
	@PYTHON=$(PYTHON) bash scripts/check_machine.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[sim,annotate,policies,play,export,dev]"
	touch $(STAMP)

# A process for each core, up to four, and one thread in each; the tests of a file stay together.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# tests/training runs on its own: it forks, and after all other tests the process is too large for it
# (Cannot allocate memory).
FAST := -m "not slow and not gpu and not lerobot" --jaxtyping-packages=roboscape,beartype.beartype

demo: $(STAMP)  ## Collect fresh episodes, fine-tune the released model, imagine, evaluate (6 minutes)
	$(BIN)/roboscape demo

quickstart: $(STAMP)  ## Collect and train everything from scratch, small (30 minutes)
	$(BIN)/roboscape quickstart

play-page: $(STAMP)  ## Write docs/play again: the page in which the released model is driven (needs npm)
	$(BIN)/roboscape export page --checkpoint lift --decoder lift-light-decoder --output docs/play

# `make check test` in one call runs the fast tests once.
fast: $(STAMP)
	$(PYTEST) $(FAST) tests/training
	$(PYTEST) $(FAST) --ignore tests/training tests

slow: $(STAMP)
	$(PYTEST) -m "slow and not gpu and not lerobot" tests

form: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: fast slow  ## All tests that this machine can run

check: form fast  ## Format, lint, types, import contract, fast tests with shapes checked

mutants: $(STAMP)  ## Plant known mistakes in a copy of the code, one at a time: every one must fail a test
	$(BIN)/python scripts/mutants.py

format: $(STAMP)  ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

browser: $(STAMP)  ## Install Playwright and look for Chromium, for the tests of `roboscape play` in a browser
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright
	@command -v chromium || command -v google-chrome || test -x "$$CHROMIUM" || { \
		echo "install Chromium (Debian, Ubuntu: apt-get install chromium), or set CHROMIUM to its path"; exit 1; }

lerobot:  ## Install lerobot 0.6.1 in an environment of its own (6 GB, Python 3.12 or newer)
	bash scripts/lerobot_environment.sh

test-lerobot: $(STAMP)  ## Prove that lerobot opens our datasets and we open its
	test -x .venv-lerobot/bin/python || { echo "run \`make lerobot\` first"; exit 1; }
	.venv-lerobot/bin/python -m pytest -m lerobot --confcutdir=tests/interop tests/interop

clean:  ## Remove the environment and build leftovers, keep data and runs
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
