# `make demo` and `make test` do all their own set-up in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TESTS_AT_ONCE ?= 4

# Where the TestCases are; the largest room comes first.
ROOMS := registry $(filter-out registry e2e integration compat,\
	$(patsubst tests/%/__init__.py,%,$(wildcard tests/*/__init__.py)) $(patsubst tests/%.py,%,$(wildcard tests/test_*.py)))

.PHONY: demo test trial lint bench soak docs develop clean

demo: $(READY)
	$(BIN)/deployctl demo $(DEMO_OPTIONS)

# The TestCases under trial, two rooms at a time, then everything under pytest; see tests/conftest.py. Most of the time
# the others wait for processes, so a few run beside each other.
test: $(READY)
	$(MAKE) --no-print-directory --jobs=2 --output-sync trial
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal $(PYTEST_OPTIONS)

trial: $(ROOMS:%=trial-%)

trial-%: $(READY)
	$(BIN)/trial --temp-directory=_trial_temp-$* tests.$*

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
