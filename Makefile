# Everything a developer or CI runs. On a fresh Debian 12 each target fetches what it needs first, once.
# `make` alone lists the targets.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DURATION ?=
BENCH ?=
PYTEST ?=
PROVE ?=

NODE_SERVERS := tests/support/node_opcua tests/support/node_modbus
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
       --custom-compile-command 'make lock' $(UPGRADE) pyproject.toml

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------------- running

.PHONY: demo
demo: $(VENV)/demo.stamp ## run a simulated pilot line, the gateway and a broker (DURATION=20 ends it after 20 s)
	$(BIN)/pilot-gateway demo $(if $(DURATION),--duration $(DURATION))

.PHONY: bench
bench: $(VENV)/dev.stamp system-packages ## measure speed and memory (BENCH="--help" shows what can be chosen)
	$(BIN)/python -m tests.bench $(BENCH)

# ----------------------------------------------------------------------------------------------------- testing

# Every check runs, whatever the one before it found; fails when one of them did.
CHECK := ok=0; for check in 'ruff format --check --quiet .' 'ruff check --quiet .' mypy 'lint-imports --no-logo'; do \
         echo "$$check"; $(BIN)/$$check || ok=1; done; test $$ok = 0

.PHONY: test
test: $(VENV)/dev.stamp system-packages node-packages ## check style, types and imports, then run every test (PYTEST="-k modbus" adds options)
	@checks=0; ($(CHECK)) || checks=1; \
	tests=0; $(BIN)/python -m pytest --cov --cov-report=term $(PYTEST) || tests=$$?; \
	test $$checks = 0 || echo 'style, types or imports are wrong: see above the tests'; \
	test $$checks = 0 && exit $$tests; exit 1

.PHONY: prove
prove: $(VENV)/dev.stamp system-packages ## prove the promises in figures, into PROOF.md (PROVE="--only power-cut" chooses)
	$(BIN)/python -m tests.prove $(if $(PROVE),$(PROVE),--write PROOF.md)

.PHONY: lint
lint: $(VENV)/dev.stamp ## check style, types and the direction of imports
	@$(CHECK)

.PHONY: format
format: $(VENV)/dev.stamp ## bring the code into shape, mending what can be mended by itself
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

.PHONY: schema
schema: $(VENV)/demo.stamp ## write the JSON schemas of the configuration files to config/schema
	$(BIN)/pilot-gateway schema --write config/schema

# ---------------------------------------------------------------------------------------------- what they need

# The locks pin every package by version and hash and name no registry: pip asks the one it is configured for.
# A changed lock makes the environment anew, so that nothing is left in it that the lock does not name.
# dev holds all of demo in the same versions, so whoever has dev has demo.
define INSTALL
	@PYTHON=$(PYTHON) sh requirements/system.sh python
	@echo 'making $(VENV) from requirements/$(1).lock'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r requirements/$(1).lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(PIP) check
endef

$(VENV)/demo.stamp: requirements/demo.lock
	$(call INSTALL,demo)
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock
	$(call INSTALL,dev)
	@touch $@ $(VENV)/demo.stamp

.PHONY: system-packages
system-packages:
	@sh requirements/system.sh tests

.PHONY: node-packages
node-packages: $(NODE_SERVERS:%=%/node_modules/.package-lock.json)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: lock
lock: $(VENV)/dev.stamp ## pin the dependencies of pyproject.toml again (UPGRADE=--upgrade takes the newest)
	$(LOCK) --extra speed --extra demo --group build --group dev -o requirements/dev.lock
	$(LOCK) --extra speed --extra demo --group build -c requirements/dev.lock -o requirements/demo.lock
	$(LOCK) --extra speed --group build -c requirements/dev.lock -o requirements/run.lock

.PHONY: clean
clean: ## remove everything that was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov dist var
	rm -rf $(NODE_SERVERS:%=%/node_modules)
	find gateway drivers tests -name __pycache__ -type d -prune -exec rm -rf {} +
