PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
LEAST = $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)
IS_NEW = import sys; sys.exit(sys.version_info < tuple(map(int, "$(LEAST)".split("."))))
# A kernel forced on OpenBLAS from outside would be measured instead of this machine.
MEASURED = env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.PHONY: report gpu-report dashboard test test-all lint docs clean FORCE

report: $(VENV)/.installed   ## how fast is this machine, and a model trained on it
	$(MEASURED) $(BIN)/rnncore info
	$(MEASURED) $(BIN)/python examples/char_language_model.py --quick
	$(MEASURED) $(BIN)/rnncore bench --preset quick -o table

gpu-report: $(VENV)/.installed   ## the CUDA backend beside cuDNN, which is PyTorch's where that is installed in .venv
	$(BIN)/rnncore bench --preset gpu

dashboard: $(VENV)/.installed-dev   ## asv's site of the project's history, on http://127.0.0.1:8080/
	$(BIN)/python benchmarks/dashboard.py

test: $(VENV)/.installed-test   ## the tests for every day, within two minutes
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal $(PYTEST_ARGUMENTS)

test-all: $(VENV)/.installed-test   ## the whole test suite, which executes the CUDA engine's PTX too
	$(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

lint: $(VENV)/.installed-dev   ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright

docs: $(VENV)/.installed-docs   ## the site, docs/_build/index.html; fails on a warning, needs no network
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet -b html docs docs/_build

clean:
	rm -rf $(VENV) docs/_build build dist .asv *.egg-info

# Looked at each time: made anew if its Python is too old, has no pip, or is another than a PYTHON that was given.
$(VENV)/pyvenv.cfg: FORCE
	@if $(BIN)/python -c 'import pip; $(IS_NEW)' 2> /dev/null; then \
	  test "$(origin PYTHON)" = file && exit; \
	  test "$$($(BIN)/python -VV)" = "$$($(PYTHON) -VV)" && exit; \
	fi; \
	if ! $(PYTHON) -c '$(IS_NEW)' 2> /dev/null; then \
	  found=$$($(PYTHON) -V 2>&1) || found='nothing that runs'; \
	  echo "PYTHON=$(PYTHON): expected Python $(LEAST) or later, got $$found; name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; \
	fi; \
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
FORCE:

$(VENV)/.installed: pyproject.toml $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
