# Needs python3 (3.11 or newer) and nothing else: each target sets up .venv for itself.  PYTHON=... chooses the interpreter.
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench docs lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## Land the example day by day, transform it, print what came from where (again: finds nothing to do)
	$(BIN)/python configs/nyc/demo.py demo

test: $(VENV)/.dev ## Run the tests (TESTS=tests/cli for some of them, JOBS=2 processes)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(TESTS)

check: $(VENV)/.dev ## Lint, format, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench ## Measure against peers and physical limits; prints ratios
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev ## Write the reference pages out of the code
	$(BIN)/python scripts/make_reference.py

lock: ## Pin all dependencies anew (needs uv; UPGRADE=--upgrade for newer versions)
	scripts/lock.sh $(UPGRADE)

clean: ## Remove the environment, caches and the demo's lake
	rm -rf $(VENV) demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml scripts/setup.sh
	scripts/setup.sh runtime $(VENV)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml scripts/setup.sh
	scripts/setup.sh dev $(VENV)
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: requirements/bench.txt pyproject.toml scripts/setup.sh
	scripts/setup.sh bench $(VENV)
	@touch $@
