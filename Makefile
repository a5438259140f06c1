# `make serve` and `make test` set everything up from nothing: Python 3.11 or newer with pip is all they need.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: serve test check fix bench clean

serve: .venv/serve  ## start the server on the shipped checkpoint
	@exec $(BIN)/longthink serve --host $(HOST) --port $(PORT) $(ARGS)

test: .venv/dev  ## all tests
	$(BIN)/python -m pytest -q $(ARGS)

check: .venv/dev  ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/dev  ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev  ## speed of the embedded engine and of the server
	$(BIN)/longthink bench engine $(ARGS)

clean:
	rm -rf .venv

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "longthink needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/serve: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

# torch first and by itself: a later install then keeps this build instead of pulling the newest with CUDA packages
.venv/dev: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ .venv/serve
