# slimwave: `make demo` and `make test` work on a fresh machine with python3 >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
# One thread a process: the suite runs two processes, and figures stay comparable.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install, then dataset -> surrogates -> pruning -> rollouts -> report (about 4 minutes)"
	@echo "make test    install, then run the whole test suite"
	@echo "make lint    ruff (format, lint) and mypy (strict)"
	@echo "make bench   the quick forms of the benchmarks"
	@echo "make clean   remove the virtual environment, caches and runs/"

demo: $(VENV)/.ready
	$(BIN)/slimwave demo $(DEMO)

test: $(VENV)/.ready
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.ready
	@set -e; for script in benchmarks/*.py; do \
		echo "== $$script --quick"; $(ONE_THREAD) $(BIN)/python $$script --quick; done

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("slimwave needs Python 3.11 or newer, found " + sys.version.split()[0] + ": try make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[realtime,test,dev]"
	@touch $@

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
