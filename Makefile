# make run    create .venv, install, train on the breast-cancer data and write a report
# make test   the same environment with the test tools, then the whole suite
# make docs   the documentation site, build/docs/index.html
# make fuzz   the property tests alone, on newly drawn examples
# make tutorials  runs every tutorials/*.py and writes the notebook beside it; one of them with TUTORIAL=03
# make bench  side-by-side measurements against the published package (after make bench-peers)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
RUN    ?= runs/breast_cancer
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
JOBS   ?= 2

.PHONY: run test lint types suite fuzz docs tutorials picture fixtures bench bench-peers clean

run: $(VENV)/.core
	$(BIN)/qkan train --data breast_cancer --model kacq --seed 0 --out $(RUN)

test: lint types suite

lint: $(VENV)/.dev
	$(BIN)/ruff check qkan circuits kernels tests tutorials benchmarks docs
	$(BIN)/ruff format --check qkan circuits kernels tests tutorials benchmarks docs

types: $(VENV)/.dev
	$(BIN)/mypy

# One thread per worker: small tensor operations lose more to thread barriers than they gain.
suite: $(VENV)/.dev
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

fuzz: $(VENV)/.dev
	HYPOTHESIS_PROFILE=fuzz OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n $(JOBS) -m hypothesis

# The site, from build/docs/index.html on: needs no network; the notebooks are shown as they are committed.
docs: $(VENV)/.dev
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/sphinx-build -W --keep-going -b html docs build/docs

tutorials: $(VENV)/.dev
	$(BIN)/python docs/render_tutorials.py $(TUTORIAL)

# The README's picture is the overview written by the main job.
picture: run
	cp $(RUN)/overview.png docs/images/overview.png

# Numbers recorded from the published package, in an environment of its own.
fixtures:
	$(PYTHON) -m venv build/official-venv
	build/official-venv/bin/pip install --quiet -c constraints.txt torch==2.13.0 numpy sympy qkan==0.2.3
	cd build && official-venv/bin/python ../tests/fixtures/record_official.py ../tests/fixtures/official.json

# About six minutes on two cores; leave the machine alone meanwhile.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

# The published package beside the environment, not in it: both are imported as qkan.
bench-peers: $(VENV)/.dev
	$(PIP) --upgrade --target build/peers/official --no-deps qkan==0.2.3

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on PATH."; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Choose one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e ".[dev]"
	$(BIN)/python -m pip check
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
