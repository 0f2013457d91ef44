# Every task of this project. `make` alone lists them; each sets up what it needs and does nothing twice.
#
#   PYTHON=python3.12 make install    which Python the virtual environment is made of (3.11 or newer)
#   PYTEST_ARGS="-k quarantine" make test    more arguments for pytest

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
TORTURE_SECONDS ?= 900
TORTURE_SEED ?= 1
export PYTHON

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed ## Create .venv with the command `headrace` and everything for development
	@echo "ready: $(BIN)/headrace (or: source $(BIN)/activate)"

$(VENV)/.installed: pyproject.toml constraints.txt src/headrace/core/version.py scripts/install.sh
	@scripts/install.sh $(VENV)
	@touch $@

.PHONY: demo
demo: $(VENV)/.installed ## Show what stale context costs, in a simulated city (DEMO_ARGS="--seconds 30")
	@$(BIN)/headrace demo $(DEMO_ARGS)

.PHONY: check
check: $(VENV)/.installed ## Lint, format, types and layers (under a minute)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

.PHONY: test
test: system check ## Everything: check, then all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-fast
test-fast: $(VENV)/.installed ## The tests that take less than about five seconds each
	@$(BIN)/python -m pytest -m "not slow and not install" $(PYTEST_ARGS)

.PHONY: torture
torture: $(VENV)/.installed ## Follow a PostgreSQL while everything is killed in turn, 30 minutes (TORTURE_SECONDS=900 a version)
	@HEADRACE_TORTURE_SHOW=1 HEADRACE_TORTURE_SECONDS=$(TORTURE_SECONDS) HEADRACE_TORTURE_SEED=$(TORTURE_SEED) \
		$(BIN)/python -m pytest -x -s tests/integration/test_postgres_torture.py $(PYTEST_ARGS)

.PHONY: system
system: $(VENV)/.installed ## Install the Debian packages that tests use (needs root; others are told)
	@scripts/system.sh

.PHONY: format
format: $(VENV)/.installed ## Format the code and fix what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: reference
reference: $(VENV)/.installed ## Write docs/reference from the code
	@$(BIN)/python scripts/reference.py

.PHONY: picture
picture: $(VENV)/.installed ## Draw the picture of the README from a real run of the demo
	@$(BIN)/python scripts/picture.py

.PHONY: bench
bench: $(VENV)/.installed ## Run the benchmarks: a table on the screen and JSON in benchmarks/results
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: lock
lock: $(VENV)/.installed ## Resolve constraints.txt anew
	@$(BIN)/python scripts/lock.py

.PHONY: clean
clean: ## Remove .venv and everything that was built or cached
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
