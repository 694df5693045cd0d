# Each target does its own set-up, into .venv inside this folder.  PYTHON names another interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install accelerate pure demo test chaos chaos-short chaos-planted bench lint format generate lock clean

help:            ## These lines.
	@sed -n 's/^\([a-z-]*\):.*## */\1|/p' $(MAKEFILE_LIST) | column -t -s '|'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "queuewatch needs Python 3.11 to 3.13; $(PYTHON) is `$(PYTHON) --version`. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.developed: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.installed  ## Build .venv with the command queuewatch in it.

accelerate: $(VENV)/.developed  ## Compile the core with mypyc: twice as fast. Needs gcc; after a change of the sources once more.
	$(BIN)/python -m queuewatch_streams.accelerator build

pure: $(VENV)/.developed  ## Go without the compiled core.
	$(BIN)/python -m queuewatch_streams.accelerator remove

demo: install    ## A live picture: embedded broker, worker, simulated call centre. Ctrl-C ends it.
	@$(BIN)/queuewatch demo

test: $(VENV)/.developed  ## All tests; those that need Apache Kafka are skipped without a JDK and Maven.
	$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/.developed  ## Faults on purpose against Apache Kafka, 50 runs in about 40 minutes. ARGS="--runs 5 --seed 7"
	PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

chaos-short: $(VENV)/.developed  ## Two such runs and a planted bug as tests, in about two minutes.
	QUEUEWATCH_CHAOS=1 $(BIN)/python -m pytest tests/chaos/test_short.py $(ARGS)

chaos-planted: $(VENV)/.developed  ## Bugs planted on purpose: each must make the harness fail.
	PYTHONPATH=tests $(BIN)/python -m chaos --planted all $(ARGS)

bench: accelerate  ## Benchmarks against Apache Kafka, about an hour; status 1 where a bound is missed. ARGS=--short: four minutes
	PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.developed  ## Formatting, lint, types, import directions, generated files.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy schemas streams dashboards tests
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m queuewatch_schemas.generate --check
	$(BIN)/python -m queuewatch_streams.document --check
	$(BIN)/queuewatch boards check

format: $(VENV)/.developed  ## Format the code and sort imports.
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

generate: $(VENV)/.developed  ## Write the generated files anew.
	$(BIN)/python -m queuewatch_schemas.generate
	$(BIN)/python -m queuewatch_streams.document
	$(BIN)/queuewatch boards build

lock: $(BIN)/python  ## Resolve the pinned versions anew.
	$(BIN)/python -m venv .cache/lock && .cache/lock/bin/python -m pip install --quiet pip-tools
	.cache/lock/bin/pip-compile $(LOCKING) --extra demo --extra sources -o requirements.lock pyproject.toml
	.cache/lock/bin/pip-compile $(LOCKING) --extra demo --extra sources --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	.cache/lock/bin/pip-compile $(LOCKING) -o tests/bench/requirements-quix.lock tests/bench/requirements-quix.in
	.cache/lock/bin/pip-compile $(LOCKING) -c requirements.lock -o tests/bench/requirements-bytewax.lock tests/bench/requirements-bytewax.in
LOCKING := --quiet --allow-unsafe --generate-hashes --strip-extras --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean:           ## Remove everything that was built here.
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
