PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
# A kernel forced on OpenBLAS from outside would be measured instead of this machine.
MEASURED = env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.PHONY: report gpu-report dashboard test lint docs clean

report: $(VENV)/.installed   ## how fast is this machine, and a model trained on it
	$(MEASURED) $(BIN)/rnncore info
	$(MEASURED) $(BIN)/rnncore bench
	$(MEASURED) $(BIN)/python examples/char_language_model.py --short

gpu-report: $(VENV)/.installed   ## the CUDA backend beside cuDNN, which is PyTorch's where that is installed in .venv
	$(BIN)/python benchmarks/gpu.py

dashboard: $(VENV)/.installed-dev   ## asv's site of the project's history, on http://127.0.0.1:8080/
	$(BIN)/python benchmarks/dashboard.py

test: $(VENV)/.installed-test   ## the whole test suite
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

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
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
