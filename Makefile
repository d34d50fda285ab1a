# The two commands a newcomer needs are `make demo` and `make test`. VARIANT=cpu|gpu overrides what setup.sh sees.
VENV ?= .venv
BIN := $(VENV)/bin
export UNDERSTUDY_ARTIFACTS ?= artifacts
# Tests of one file stay in one process, and share what it starts. Slow ones run in the order of their names: files with
# one long test would otherwise come last.
PARALLEL := -n logical --dist loadfile

.PHONY: help demo test test-long test-fast chaos check format bench requirements migration clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Make the environment (everything below does it first).
	@./setup.sh

demo: setup ## Start everything, print the addresses, then train what is missing.
	@$(BIN)/understudy demo

test: setup browser check ## All tests: static checks, then quick ones, then those with an engine, then slow ones.
	$(BIN)/pytest -m "not slow and not engine" $(PARALLEL)
	$(BIN)/pytest -m "not slow and engine"
	$(BIN)/pytest -m "slow and not long" $(PARALLEL) --no-loadscope-reorder

test-long: setup ## What takes a minute or more each: chaos, the circle of votes, verify on the default base, the images' entry points.
	$(BIN)/pytest -m long
	$(BIN)/pytest -m "fuzz and not long" --hypothesis-profile=long

test-fast: setup ## Tests that start no engine and no browser.
	$(BIN)/pytest -m "not slow and not engine and not browser"

chaos: setup ## Three minutes of publishes, rollbacks, kills and vanishing clients at random, under load.
	UNDERSTUDY_CHAOS_SECONDS=180 $(BIN)/pytest -s tests/serve/test_chaos.py

CHECKS := check-types check-layers check-format check-lint check-image

check: setup ## Format, lint, types, import layers, all at once.
	@$(MAKE) --no-print-directory -k -j -O $(CHECKS)

.PHONY: $(CHECKS)
check-types:
	$(BIN)/pyright
check-layers:
	$(BIN)/lint-imports
check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-image:
	$(BIN)/hadolint Dockerfile

format: setup ## Format and fix what can be fixed.
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .

bench: setup ## Measure what README and docs claim, alone on the machine, for hours; writes docs/results/ and the page.
	@$(BIN)/python -m bench.all

browser: ## Chromium for the browser tests; without it they are skipped.
	@./setup-browser.sh

requirements: setup ## Resolve pyproject.toml into requirements/*.txt again.
	@./requirements/compile.sh

migration: setup ## A new database migration: make migration M="what changed".
	$(BIN)/python -m understudy.registry.migrations.new "$(M)"

clean: ## Remove the environment, adapters, votes, runs. Asks nothing.
	rm -rf $(VENV) .understudy runs artifacts
