# One verb per line: run demo test check interop crash bench docs clean.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready

.PHONY: run demo test check interop crash bench docs peers clean

run: $(READY)        ## a real instance on unprivileged ports; stays up until Ctrl-C
	$(PY) -m sekisho demo --directory run

demo: $(READY)       ## the same, throw-away: sends two messages, shows where they arrived, ends
	$(PY) -m sekisho demo --once

test: $(READY) peers ## every test, with the real programs of Debian where they can be installed
	$(PY) -m pytest -q

check: $(READY)      ## format, lint, strict types, layers
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_layers.py

interop: $(READY) peers
	$(PY) -m pytest -q tests/interop

crash: $(READY) peers
	$(PY) -m pytest -q tests/crash

bench: $(READY)
	$(MAKE) -C bench PYTHON=$(abspath $(PY))

docs: $(READY)       ## regenerate docs/reference from the declarations
	$(PY) scripts/write-reference

peers:
	scripts/install-test-peers

$(READY): requirements.lock pyproject.toml $(wildcard src/sekisho/kernel/*.c)
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Sekisho needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
