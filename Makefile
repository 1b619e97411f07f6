# Every habit is one command; each sets up what it needs on a fresh machine.
PYTHON := .venv/bin/python
WORKERS ?= 4
SECONDS ?= 600
CLUSTERS := tests/outage/test_galera.py tests/nemesis/test_clusters.py

.PHONY: setup run test test-long soak test-nova test-keystone mutants check bench docs lock clean

setup:                       ## the environment; quick when it is there
	@tools/bootstrap.sh

run: setup                           ## the control plane on its embedded default, with this host joined
	@tools/run.sh

test: check                  ## what every change runs: the checks, and all tests but the long ones
	@tools/bootstrap.sh --servers
	@WORKERS=$(WORKERS) tools/test.sh -m "not long"

test-long: setup             ## outages, storms, upgrades, thousands of services, the whole browser
	@tools/bootstrap.sh --servers
	@WORKERS=2 tools/test.sh -m long $(CLUSTERS:%=--ignore %)
	@WORKERS=0 tools/test.sh -m long $(CLUSTERS)  # each takes both processors itself

soak: setup                  ## the promises under random faults: a long storm, and long in memory
	@tools/bootstrap.sh --servers
	SOAK=1 $(PYTHON) -m pytest tests/observer/test_any_fleet.py --timeout 3600
	cd tests && ../$(PYTHON) -m nemesis --record --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) \
		$(if $(DATABASE),--database $(DATABASE)) $(if $(BACKEND),--backend $(BACKEND))

test-nova: setup             ## the layer in a real Nova, which is installed and brought up
	@tools/bootstrap.sh --servers nova
	@cd tests && ../$(PYTHON) -m servers.nova_environment
	@cd tests && ../$(PYTHON) -m servers.cinder
	@cd tests && ../$(PYTHON) -m servers.neutron
	@WORKERS=0 tools/test.sh tests/with_nova --timeout 600

mutants: WORKERS := 3
mutants: setup               ## every known bug, put back, is caught
	@tools/bootstrap.sh --servers
	@cd tests && WORKERS=$(WORKERS) ../$(PYTHON) -m mutants

test-keystone: setup         ## access by a real Keystone, which is installed
	@cd tests && ../$(PYTHON) -m servers.keystone
	@WORKERS=0 tools/test.sh tests/with_keystone --timeout 600

check: setup                 ## format, lint, types, import contracts; the dashboard's scripts too
	$(PYTHON) -m ruff format --check src tests benchmarks
	$(PYTHON) -m ruff check src tests benchmarks
	.venv/bin/oxfmt --check src/servicegroup/web/*.js
	.venv/bin/oxlint --deny-warnings src/servicegroup/web
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
	rm -rf .venv .venv-keystone* .venv-nova* .venv-cinder* .venv-neutron* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist .run
