# `make quick` and `make test` do everything from a bare checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process; parallelism is over cells.
export OMP_NUM_THREADS := 1

.PHONY: quick full test lint docs speed gpu faults clean

quick: $(VENV)/.installed  ## eight methods on simulated MOSI, then tables, figures and results/quick/report.html
	$(BIN)/python run_benchmark.py --grid quick

full: $(VENV)/.installed  ## the three simulated tasks, five seeds
	$(BIN)/python run_benchmark.py --grid full

# Three workers for two cores, since some tests wait for processes that they start. There are two hundred of these, so
# Python keeps compiled modules, whatever the environment says.
test: $(VENV)/.installed  ## all tests; no network, no GPU
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 3 --dist worksteal

lint: $(VENV)/.installed  ## ruff, mypy, and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Made when missing, and again when the lock has changed.
$(VENV)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

docs: $(VENV)/.installed  ## the documentation as a site, in results/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

speed: $(VENV)/.installed  ## seconds an epoch of every method, MulT and CorrKD beside plain ones; leave the machine alone
	$(BIN)/python -m tests.speed --out results/speed $(if $(MMSA),--mmsa $(MMSA))

gpu: $(VENV)/.installed  ## what one GPU gives, in at most eight minutes; where there is none, all of it in small on the CPU
	$(BIN)/python -m tests.speed.gpu --out results/reference/gpu

faults: $(VENV)/.installed  ## crashes, full disks, damaged inputs; writes tests/faults/README.md
	$(BIN)/python -m tests.faults --out tests/faults/README.md

clean:  ## remove the environment; results stay
	rm -rf $(VENV)
