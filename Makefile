# One command a wish. Everything that is generated lies under .state, which `make clean` removes.
# Plain assignments: the command line sets these, and a variable that the environment happens to have does not.
PYTHON = python3
STACK = local
RECIPE =
SET =
ENGINE = $(ISTHMUS_ENGINE)
UPGRADE =
PYTEST_ARGS =
BENCH =
BENCH_ARGS =

BIN := .state/venv/bin
UV := .state/uv/bin/uv
export ISTHMUS_ENGINE := $(ENGINE)
export PRE_COMMIT_HOME := $(CURDIR)/.state/cache/pre-commit
export RUFF_CACHE_DIR := $(CURDIR)/.state/cache/ruff
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.state/cache/hypothesis
export MYPY_CACHE_DIR := $(CURDIR)/.state/cache/mypy
PYTEST := $(BIN)/python -m pytest -o cache_dir=.state/cache/pytest

.DEFAULT_GOAL := help
.PHONY: help up preview review preflight plan watch refresh down diagram test test-gateways test-openstack lab-up lab lab-down lint format bench lock clean environment engine python
.DELETE_ON_ERROR:

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

CHOSEN = --stack $(STACK) $(if $(RECIPE),--recipe $(RECIPE)) $(if $(SET),--set "$(SET)")

up: environment ## Make what the stack declares (STACK=local, RECIPE=language, SET="links.0.rate=20 Mbit/s")
	@$(BIN)/isthmus up $(CHOSEN)

preview: environment ## Show what `make up` would do (the same choices)
	@$(BIN)/isthmus preview $(CHOSEN)

review: environment ## Show what a change does, lost state first, with policy and cost (STACK=dev)
	@$(BIN)/isthmus review $(CHOSEN)

preflight: environment ## Check all that can be known before money is spent (STACK=dev)
	@$(BIN)/isthmus preflight --stack $(STACK) $(if $(SET),--set "$(SET)")

refresh: environment ## Look at what is really there (STACK=local)
	@$(BIN)/isthmus refresh --stack $(STACK)

down: environment ## Destroy what the stack made (STACK=local)
	@$(BIN)/isthmus down --stack $(STACK)

plan: environment ## Show what a run would be made of, and why (STACK=local, RECIPE=language)
	@$(BIN)/isthmus plan $(CHOSEN)

watch: environment ## Watch the newest training run (STACK=local)
	@$(BIN)/isthmus watch --stack $(STACK)

diagram: environment ## Draw the platform as the stack stands (STACK=local)
	@$(BIN)/isthmus diagram --stack $(STACK)

# those that take long are programs of their own
BENCHES = $(sort $(patsubst tests/bench/bench_%.py,%,$(wildcard tests/bench/bench_*.py)) $(patsubst tests/bench/%/__main__.py,%,$(wildcard tests/bench/*/__main__.py)))
# each test that drives the engine has a state folder of its own, and all share one engine
test test-openstack lab-up lab bench: export ISTHMUS_PULUMI_HOME := $(CURDIR)/.state/pulumi
test: environment engine ## Run the tests (PYTEST_ARGS="-k name")
	@$(PYTEST) $(PYTEST_ARGS)

test-gateways: environment ## Bring up both ends of the link in namespaces, from Debian's packages (2 minutes; root)
	@$(PYTEST) tests/lab/test_gateways.py -m gateways $(PYTEST_ARGS)

# one story: what comes after a step that failed says nothing
test-openstack: environment engine ## Apply the OpenStack half to a real control plane on loopback (4 to 8 minutes, 4 more the first time; Go)
	@$(PYTEST) tests/lab/test_openstack.py -m lab --exitfirst $(PYTEST_ARGS)

lab-up: environment engine ## Bring the lab up: both clouds' control planes, a cluster over an emulated link (first 40 minutes; root, Go)
	@$(BIN)/python -m tests.lab up

lab: environment engine ## Apply the whole program in the lab and drill it; brings it up where it is down (docs/LAB.md)
	@$(BIN)/python -m tests.lab run $(PYTEST_ARGS)

lab-down: environment ## Take the lab away, also one that was killed in mid-start; what was built stays
	@$(BIN)/python -m tests.lab down

lint: environment ## Check style, types and lock files
	@PATH="$(CURDIR)/$(BIN):$$PATH" pre-commit run --all-files

format: environment ## Put the code into the one style
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: environment engine ## Measure; asserts nothing (BENCH=round; BENCH=wan takes 45 minutes and root, BENCH_ARGS=--quick one, --plan says what)
	@if [ -d "tests/bench/$(BENCH)" ] && [ -n "$(BENCH)" ]; then \
	    $(BIN)/python -m tests.bench.$(BENCH) $(BENCH_ARGS); \
	elif ls tests/bench/bench_$(or $(BENCH),*).py >/dev/null 2>&1; then \
	    $(PYTEST) tests/bench -s -o python_files='bench_$(or $(BENCH),*).py' $(PYTEST_ARGS) $(BENCH_ARGS); \
	else \
	    echo 'error: no benchmark $(BENCH); there are $(BENCHES)' >&2; exit 2; \
	fi

# Resolved for every platform. Versions in the files stay unless UPGRADE=1, and every file has the versions of dev.txt.
RESOLVE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(if $(UPGRADE),--upgrade)
lock: $(UV) ## Bring locks/ up to date with pyproject.toml (UPGRADE=1 for newer versions)
	@echo uv | $(RESOLVE) --no-annotate --output-file locks/uv.txt -
	@$(RESOLVE) --extra dev --output-file locks/dev.txt pyproject.toml
	@for extra in infra train serve; do \
	    $(RESOLVE) --extra $$extra --no-annotate --constraints locks/dev.txt \
	        --output-file locks/$$extra.txt pyproject.toml || exit; \
	done
	@for cloud in aws openstack; do \
	    $(RESOLVE) --no-annotate --output-file tests/lab/$$cloud/requirements.txt tests/lab/$$cloud/requirements.in || exit; \
	done

clean: ## Remove everything generated; refused while a stack's services run
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m infra.toolchain.clean .state; fi
	@rm -rf .state
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment: .state/venv/.ready

engine: environment
	@$(BIN)/python -m infra.toolchain .state

python:
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo 'error: $(PYTHON) is not on PATH; install Python 3.11 or newer, or name one: make PYTHON=python3.12' >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $$("$(PYTHON)" -V) is older than 3.11; install a newer one, or name one: make PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'error: $(PYTHON) has no venv module; install it (apt install python3-venv), or name another: make PYTHON=python3.12' >&2; exit 2; }

$(UV): locks/uv.txt | python
	@echo 'installing uv into .state/uv'
	@"$(PYTHON)" -m venv --clear .state/uv
	@.state/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	@touch $@

# The project itself is on the environment's path and is not installed: nothing is left in the tree.
.state/venv/.ready: locks/dev.txt $(UV) | python
	@echo 'installing the locked packages into .state/venv'
	@$(UV) venv --quiet --allow-existing --python "$$(command -v "$(PYTHON)")" .state/venv
	@$(UV) pip sync --python $(BIN)/python --require-hashes locks/dev.txt
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | { \
	    read -r packages; pwd > "$$packages/isthmus.pth"; }
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m infra.operations "$$@"\n' > $(BIN)/isthmus
	@chmod +x $(BIN)/isthmus
	@touch $@
