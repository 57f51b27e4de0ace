# Two commands from a bare clone: `make demo` and `make test`. Python 3.11 or newer is all they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Extra arguments for pip, such as an index of CPU-only torch wheels.
PIP_ARGS ?=
# Where the demonstration goes: the first of demo, demo-2, demo-3, ... that is free.
OUT ?= $(shell n=1; out=demo; while [ -e $$out ]; do n=$$((n + 1)); out=demo-$$n; done; echo $$out)

# Processes of the suite, one thread each; 0: all tests in one.
TESTERS ?= auto

# The Apptainer image, and arguments for containers/build.sh.
IMAGE ?= build/immo.sif
BUILD ?=

.PHONY: demo test test-clone test-cluster container test-container lint format bench clean help

help:
	@echo "make demo        install into $(VENV) and run the whole flow on a simulated cohort"
	@echo "make test        install into $(VENV) and run the test suite, in several processes"
	@echo "make test-clone  run 'make demo' in a fresh clone with a fresh environment"
	@echo "make test-cluster    jobs on a real Slurm, brought up here and taken down again"
	@echo "make container       Apptainer image $(IMAGE); see docs/containers.md"
	@echo "make test-container  run the image as its users will, with and without Slurm"
	@echo "make lint        ruff and mypy"
	@echo "make bench       measured speed of training and of the kernels on this machine"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/immo demo $(OUT)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-clone:
	bash tests/clone.sh

# Needs Slurm and MariaDB: bash tests/cluster/install.sh --install slurm
test-cluster: $(VENV)/.installed-dev
	bash tests/cluster/run.sh $(BIN)/python -m pytest -m cluster --durations=0 tests/cluster

container: $(VENV)/.installed
	PYTHON=$(abspath $(BIN))/python PIP_ARGS="$(PIP_ARGS)" bash containers/build.sh $(BUILD) $(IMAGE)

# Needs Apptainer too: bash tests/cluster/install.sh --install slurm apptainer
test-container: $(VENV)/.installed-dev
	bash containers/check.sh $(IMAGE)
	IMMO_IMAGE=$(abspath $(IMAGE)) bash tests/cluster/run.sh \
	  $(BIN)/python -m pytest -m cluster tests/cluster/test_container.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/immo bench train
	$(BIN)/immo bench kernels --quick

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
