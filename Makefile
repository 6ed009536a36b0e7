# Each target makes .venv when it is missing; Python 3.11 or later and pip are all it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VOLCLASS_DATA ?= ../shared/data
BIN := .venv/bin
READY := .venv/.ready
BENCHMARK := $(BIN)/volclass benchmark $(VOLCLASS_DATA)/medmnist --out runs/benchmark --page docs/benchmarks.md
FIRST_RUNGS := majority,histogram,shape,nano,nano_shape

.PHONY: help demo test test-all bench reliability benchmark-medmnist benchmark-medmnist-64 benchmark-medmnist-all lint types imports pytest clean

help:
	@echo "make demo      generated volumes, cross-validated, with a report in runs/demo"
	@echo "make test      format, lint, types, import rules and tests (what CI runs)"
	@echo "make test-all  the same with the slow tests"
	@echo "make bench     measures speed side by side, writes docs/benchmarks.md"
	@echo "make reliability  what becomes of bad files, beside other readers: docs/reliability.md"
	@echo "make benchmark-medmnist  one recipe on the MedMNIST 3D sets in VOLCLASS_DATA/medmnist:"
	@echo "                         ours and the baselines"
	@echo "make benchmark-medmnist-64   the same on the larger volumes"
	@echo "make benchmark-medmnist-all  then heads, mixers, peers and slices too: hours a set"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("volclass needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/volclass train --config quickstart --out runs/demo

test: lint types imports pytest

test-all: lint types imports
	$(BIN)/python -m pytest -m 'slow or not slow'

bench: $(READY)
	$(BIN)/volclass bench --out docs/benchmarks.md

reliability: $(READY)
	$(BIN)/volclass reliability --out docs/reliability.md

benchmark-medmnist: $(READY)
	$(BENCHMARK) --rungs $(FIRST_RUNGS)

benchmark-medmnist-64: $(READY)
	$(BENCHMARK) --size 64

benchmark-medmnist-all: $(READY)
	$(BENCHMARK)

lint: $(READY)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy tests scripts

imports: $(READY)
	$(BIN)/lint-imports

pytest: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
