# `make demo` and `make test` do all their own set-up in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TESTS_AT_ONCE ?= 4

.PHONY: demo test lint bench soak docs develop clean

demo: $(READY)
	$(BIN)/deployctl demo $(DEMO_OPTIONS)

# The TestCases under trial, then everything under pytest; see tests/conftest.py. Most of the time tests wait for
# processes, so a few run beside each other.
test: $(READY)
	$(BIN)/trial --temp-directory=_trial_temp tests
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal $(PYTEST_OPTIONS)

lint: $(READY)
	$(BIN)/ruff check deployd tests benchmarks examples twisted setup.py
	$(BIN)/ruff format --check deployd tests benchmarks examples twisted setup.py
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

# The same tests with their long counts.
soak: $(READY)
	DEPLOYD_SOAK=1 $(BIN)/pytest $(PYTEST_OPTIONS)

docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt sphinx myst-parser
	$(BIN)/sphinx-build -W -b html docs build/docs

develop: $(READY)

$(READY): setup.cfg setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build _trial_temp*
