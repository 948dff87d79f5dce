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
# Test processes at a time, each with a control plane of its own; never more than the machine has processors.
JOBS ?= 3

.PHONY: help demo up down status init pulumi env test check verify audit image e2e-incluster generate bench faults fmt lint lock clean

help: ## This list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Set up what is missing, run the examples on a local Kubernetes, and show their way to Ready.
	@$(BIN)/python -m localplane demo

up: $(READY) ## Start the local control plane and the operator in the background.
	@$(BIN)/python -m localplane up

down: $(READY) ## Stop them; nothing is left running.
	@$(BIN)/python -m localplane down

status: $(READY) ## Show what runs and whether every object is Ready.
	@$(BIN)/python -m localplane status

init: $(READY) ## Build the init that goes into containers, for all architectures; prints the folder, for --init-dir.
	@$(BIN)/python -c 'from localplane import initprogram; print(initprogram.folder())'

pulumi: $(READY) ## Build Pulumi's engine, for `homeport cluster` and `homeport pipeline up`; prints the program.
	@$(BIN)/python -c 'from localplane import binaries; print(binaries.ensure(["pulumi"])["pulumi"])'

env: $(READY) ## Print KUBECONFIG and PATH for a shell: eval "$$(make -s env)".
	@$(BIN)/python -m localplane env

test: verify ## Run everything that can run on this machine; says what it skips and why.
	@$(BIN)/python -m localplane prepare
	@$(BIN)/python -m pytest -n auto --maxprocesses $(JOBS) --dist loadfile -m "not e2e" $(PYTEST_FLAGS)
	@$(BIN)/python -m pytest -m e2e $(PYTEST_FLAGS)
	-@$(BIN)/python -m imaging advisories # Told here: a hole found overnight is no fault of this commit. `make audit` fails.

check: $(READY) ## Lint, types and unit tests: fast, for while you work.
	@$(MAKE) lint
	@$(BIN)/python -m pytest -q tests/unit $(PYTEST_FLAGS)

verify: $(READY) ## Lint, types, layering, generated files fresh, docs complete, Bandit, licences.
	@$(MAKE) lint
	@$(BIN)/lint-imports
	@$(BIN)/python hack/generate.py --check
	@$(BIN)/python -m imaging code
	@$(BIN)/python -m imaging licences

audit: $(READY) ## Bandit, licences of what the image carries, known holes of what is locked.
	@$(BIN)/python -m imaging code
	@$(BIN)/python -m imaging licences
	@$(BIN)/python -m imaging advisories

image: $(READY) ## Build the operator's and the backup runner's image and their SBOMs into .homeport/image (root on Linux with apt; no registry).
	@$(BIN)/python -m imaging build

e2e-incluster: $(READY) ## Install the chart with that image on a real node, and examples by it; up and destroy, too.
	@$(BIN)/python -m localplane prepare
	@HOMEPORT_TEST_INCLUSTER=1 $(BIN)/python -m pytest tests/e2e/test_image.py tests/e2e/test_incluster.py \
	  tests/e2e/test_incluster_clusters.py $(PYTEST_FLAGS)

lint: $(READY)
	@twice=$$(find tests -path tests/samples -prune -o -name 'test_*.py' -exec basename {} \; | sort | uniq -d); \
	  [ -z "$$twice" ] || { echo "pytest collects by name, and these names are there twice under tests/: $$twice"; exit 1; }
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check -q || { echo 'run `make fmt`'; exit 1; }
	@$(BIN)/mypy

generate: $(READY) ## Write crds/ and the generated parts of docs/ and charts/.
	@$(BIN)/python hack/generate.py

bench: $(READY) ## Measure speed against a bare writer, in ratios; writes .homeport/bench.json.
	@$(BIN)/python tests/bench/run.py $(BENCH_FLAGS)

faults: $(READY) ## Break what containers stand on, at each write and in each way, and show how often that went wrong.
	@rm -rf .homeport/faults
	@$(BIN)/python -m pytest -q tests/faults/test_lxc_crash_points.py tests/faults/test_lxc_faults.py \
	  tests/faults/test_proxmox_app_crash_points.py $(PYTEST_FLAGS); result=$$?; \
	  for table in .homeport/faults/*.txt; do [ -f $$table ] && echo && cat $$table; done; exit $$result

fmt: $(READY) ## Format the code and mend what the linter can.
	@$(BIN)/ruff format -q
	@$(BIN)/ruff check --fix -q || true

lock: $(READY) ## Pin every dependency anew, with hashes.
	@$(BIN)/python -m uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	@# What the image has: the same versions, without what is for development; and what builds the wheel in it.
	@$(BIN)/python -m uv pip compile -q pyproject.toml --universal --python-version 3.11 -c requirements.lock \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -o operator/requirements.lock
	@echo hatchling | $(BIN)/python -m uv pip compile -q - --universal --python-version 3.11 -c requirements.lock \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -o operator/build.lock

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
