# `make run` starts the product, `make test` checks all of it. Both set up what they need first; `make help` lists the rest.

VENV := .venv
PYTHON := $(VENV)/bin/python
export UAR_PYTHON

.DEFAULT_GOAL := help
.PHONY: help run demo test lint format types pytest bench load soak clean

help: ## List these targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(VENV)/.runtime ## Set up, then start worker and dashboard until Ctrl-C.
	@exec $(PYTHON) -m uar up

demo: $(VENV)/.runtime ## Load the sample site into the store.
	@$(PYTHON) -m uar demo

test: lint types pytest ## Set up, then run every check and every test.

lint: $(VENV)/.development
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(VENV)/.development
	$(PYTHON) -m mypy

pytest: $(VENV)/.development
	@scripts/find_chromium.sh $(VENV)
	@scripts/find_operation_tools.sh
	$(PYTHON) -m pytest

format: $(VENV)/.development ## Put the source into the one format.
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: $(VENV)/.benchmark ## Set up, then measure the reports beside ClickHouse, DuckDB and PostgreSQL (takes minutes).
	$(PYTHON) -m bench

load: $(VENV)/.development ## Set up, then measure the worker under load.
	$(PYTHON) -m bench.load

soak: $(VENV)/.development ## Set up, then kill, starve and burden the worker for an hour and count what is left.
	@scripts/find_operation_tools.sh
	$(PYTHON) -m tests.reliability.soak

clean: ## Remove the environment and every cache; the data folder stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is younger than what it was made from; a changed requirement file makes it again.
$(VENV)/.environment:
	@scripts/make_venv.sh $(VENV)
	@touch $@

$(VENV)/.runtime: requirements.txt constraints.txt | $(VENV)/.environment
	@scripts/install.sh $(VENV) requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@scripts/install.sh $(VENV) requirements-dev.txt
	@touch $@

$(VENV)/.benchmark: bench/requirements.txt $(VENV)/.development
	@scripts/install.sh $(VENV) bench/requirements.txt
	@touch $@
