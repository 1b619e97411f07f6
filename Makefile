# Every habit is one command; each sets up what it needs on a fresh machine.
PYTHON := .venv/bin/python
WORKERS ?= 3

.PHONY: setup run test test-nova check bench docs lock clean

setup:                       ## the environment; quick when it is there
	@tools/bootstrap.sh

run: setup                           ## the control plane on its embedded default, with this host joined
	@tools/run.sh

test: check                  ## everything, on real servers
	@tools/bootstrap.sh --servers
	@WORKERS=$(WORKERS) tools/test.sh

test-nova: setup             ## the layer in a real Nova, which is installed and brought up
	@tools/bootstrap.sh --servers nova
	@cd tests && ../$(PYTHON) -m servers.nova_environment
	@WORKERS=0 tools/test.sh tests/with_nova --timeout 600

check: setup                 ## format, lint, types, import contracts
	$(PYTHON) -m ruff format --check src tests benchmarks
	$(PYTHON) -m ruff check src tests benchmarks
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

bench: setup                 ## the figures of benchmarks/RESULTS.md
	@tools/bootstrap.sh --servers
	$(PYTHON) -m benchmarks

docs: setup                  ## the documentation's code blocks, run
	$(PYTHON) -m pytest tests/docs

lock:                        ## requirements.lock, from pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --all-extras --group dev --quiet \
		--output-file requirements.lock pyproject.toml

clean:                       ## forget the environment and the caches
	rm -rf .venv .venv-nova* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist .run
