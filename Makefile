# make run: the app. make test: everything, from nothing. Both do only what is not done yet.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
WORKERS ?= 2
QUICK := not browser and not acceptance and not integration and not slow and not gpu

.PHONY: help setup setup-dev run check test test-integration test-slow bench bench-presets bench-labelling screenshots format clean

help:
	@echo "make run               install what is missing and start the app on http://localhost:$(PORT)"
	@echo "make test              install what is missing and run every check and test, browser too"
	@echo "make check             the checks and tests that need no browser"
	@echo "make test-integration  tests against real servers on loopback: PostgreSQL, S3, Ray, MLflow"
	@echo "make test-slow         tests that take minutes"
	@echo "make bench             measure; writes docs/benchmarks"
	@echo "make bench-presets     what each network learns in a few minutes; takes hours, goes on where it stopped"
	@echo "make bench-labelling   clicks per object with and without assistance; writes docs/benchmarks/labelling.md"
	@echo "make screenshots       draw docs/screenshots from the sample project"

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or newer is needed; set PYTHON=..." && exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

setup: $(VENV)/installed
setup-dev: $(VENV)/installed-dev

run: setup
	$(BIN)/python -m streamlit run app.py --server.port $(PORT)

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	tests/tools.sh node > /dev/null
	"$$(tests/tools.sh node)" --test tests/assets/
	$(BIN)/pytest -n $(WORKERS) -m "$(QUICK)"

test: check
	MASKWRIGHT_CHROMIUM="$$(tests/tools.sh chromium)" $(BIN)/pytest -n $(WORKERS) --dist loadfile -m "(browser or acceptance) and not integration"

test-integration: setup-dev
	tests/tools.sh postgres > /dev/null
	tests/tools.sh servers > /dev/null
	$(BIN)/pytest -m integration

test-slow: setup-dev
	$(BIN)/pytest -m slow

bench: setup-dev
	MASKWRIGHT_CHROMIUM="$$(tests/tools.sh chromium)" $(BIN)/python -m tests.bench

bench-presets: setup-dev
	$(BIN)/python -m tests.bench.presets

bench-labelling: setup-dev
	$(BIN)/python -m tests.bench.labelling

screenshots: setup-dev
	MASKWRIGHT_CHROMIUM="$$(tests/tools.sh chromium)" $(BIN)/python -m tests.bench.screenshots

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-servers .pytest_cache .ruff_cache .hypothesis .import_linter_cache
