# `make help` lists the targets. Everything runs in a virtual environment in .venv, which is made when it is missing.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_FLAGS ?=

.PHONY: help demo up down status env test check verify generate bench fmt lint lock clean

help: ## This list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Set up what is missing, run the examples on a local Kubernetes, and show their way to Ready.
	@$(BIN)/python -m localplane demo

up: $(READY) ## Start the local control plane and the operator in the background.
	@$(BIN)/python -m localplane up

down: $(READY) ## Stop them; nothing is left running.
	@$(BIN)/python -m localplane down

status: $(READY) ## Show what runs and whether every object is Ready.
	@$(BIN)/python -m localplane status

env: $(READY) ## Print KUBECONFIG and PATH for a shell: eval "$$(make -s env)".
	@$(BIN)/python -m localplane env

test: verify ## Run everything that can run on this machine; says what it skips and why.
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(READY) ## Lint, types and unit tests: fast, for while you work.
	@$(MAKE) lint
	@$(BIN)/python -m pytest -q tests/unit $(PYTEST_FLAGS)

verify: $(READY) ## Lint, types, layering, generated files fresh, docs complete.
	@$(MAKE) lint
	@$(BIN)/lint-imports
	@$(BIN)/python hack/generate.py --check

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check -q || { echo 'run `make fmt`'; exit 1; }
	@$(BIN)/mypy

generate: $(READY) ## Write crds/ and the generated parts of docs/ from the models.
	@$(BIN)/python hack/generate.py

bench: $(READY) ## Measure speed against a bare writer, in ratios; writes .homeport/bench.json.
	@$(BIN)/python tests/bench/run.py $(BENCH_FLAGS)

fmt: $(READY) ## Format the code and mend what the linter can.
	@$(BIN)/ruff format -q
	@$(BIN)/ruff check --fix -q || true

lock: $(READY) ## Pin every dependency anew, with hashes.
	@$(BIN)/python -m uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean: ## Stop everything and remove what was made here (the cache of built binaries stays).
	@if [ -x $(BIN)/python ] && [ -d .homeport ]; then $(BIN)/python -m localplane down; fi
	@rm -rf .homeport $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The environment is ready when this file is there: it is written last, so an interrupted install is done again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Homeport needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name one with PYTHON=…"; exit 1; }
	@echo "installing Python packages into $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@
