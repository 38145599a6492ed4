# What one types in this repository. `make help` lists it.
#
# A machine needs Python 3.11 or later and make, nothing else: each target first makes a virtual
# environment under .venv/, one per Python version, and fills it from the pins in requirements/.
# Another Python: `make test PYTHON=python3.13`.

PYTHON ?= python3

MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The version names the environment: 3.11 and 3.13 live side by side.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(VERSION)
BIN := $(VENV)/bin

# What is installed depends on these pins alone, never on what the caller's shell exports.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
# Without cached bytecode, every process that a test starts compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# The pinned pyright: it neither asks for a newer one nor fetches another.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport PYRIGHT_PYTHON_FORCE_VERSION PYRIGHT_PYTHON_PYLANCE_VERSION

PIP := $(BIN)/python -m pip
# The environment of the lowest versions that pyproject.toml allows.
LOWEST := $(VENV)/lowest
# Python that is checked: what is there of it.
SOURCES := $(wildcard src tests typing_tests examples benchmarks documentation)
# Libraries that keep deferred starts. No two of them can be installed together, so each has an
# environment of its own; `make test` is content with two of them.
LIBRARIES := $(sort $(notdir $(basename $(wildcard requirements/schedulers/*.in))))
LIBRARIES_SHORT := arq rq
# Libraries whose own cancel the benchmarks compare with ours.
PEERS := arq celery procrastinate rq saq
# A server or two for each worker, so more workers than this do not pay.
PYTEST_ARGS ?= --numprocesses=auto --maxprocesses=4

.PHONY: help
help: ## List the targets
	@echo 'make TARGET [PYTHON=python3.13]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done

.PHONY: demo
demo: $(VENV)/demo.stamp ## Cancel real jobs on the embedded store and show what changed
	@$(BIN)/batch-cancel demo

.PHONY: test
test: $(VENV)/test.stamp $(LIBRARIES_SHORT:%=$(VENV)/schedulers/%.stamp) ## Test everything once against real Postgres and Valkey, started from wheels
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not repeats and not mysql'

.PHONY: test-all
test-all: $(VENV)/test.stamp $(LIBRARIES_SHORT:%=$(VENV)/schedulers/%.stamp) ## Run what `make test` leaves out: cross products and campaigns
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'repeats and not mysql'

# Coverage doubles the time of a test. The tests that need no server reach every branch.
.PHONY: coverage
coverage: export COVERAGE_FILE = $(VENV)/coverage
coverage: $(VENV)/test.stamp ## Run the tests that need no server; demand every branch of the core
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not repeats and not mysql' -k 'unit or memory' --cov \
		--cov-report= tests/unit tests/contract
	@$(BIN)/python -m coverage report --fail-under=100

.PHONY: faults
faults: $(VENV)/test.stamp ## Inject faults at every call, cut lines, kill processes; count wrong answers
	@$(BIN)/python -W error -m tests.faults
	@$(BIN)/python -W error -m tests.faults.reconciling

.PHONY: stress
stress: $(VENV)/test.stamp ## Let sixteen workers race 10,000 cancels on Postgres; count broken promises
	@$(BIN)/python -m tests.faults.stress --rounds 10000

.PHONY: schemas
schemas: $(VENV)/test.stamp ## Generate 800 schemas and mappings; count steps that did harm in silence
	@$(BIN)/python -m tests.schemas --postgres 500 --sqlalchemy 200 --sqlite 100

.PHONY: http
http: $(VENV)/test.stamp ## Send 20,000 generated requests to the endpoint; count broken rules
	@$(BIN)/python -m tests.http.generated --requests 20000

.PHONY: browser
browser: $(VENV)/test.stamp ## Look at the endpoint's documentation with Chromium
	@$(BIN)/python -m pytest -n0 tests/http/browser.py

# No wheel has a MariaDB server. Debian's package starts one as a service, which the tests don't use.
# The tests on three nodes of Galera run in one process, for each process starts three nodes. They
# run 60 rounds of each pair of steps. For the whole campaign, in a quarter of an hour:
# BATCH_CANCEL_TEST_GALERA_ROUNDS=1000 make mysql
# Over drivers that you install into the environment, since mysqlclient has to be compiled:
# BATCH_CANCEL_TEST_MARIADB_DRIVERS=mysqldb,aiomysql make mysql
MYSQL_PACKAGES := mariadb-server galera-4 rsync
.PHONY: mysql
mysql: $(VENV)/test.stamp ## Test SQLAlchemy on MariaDB and Galera, installed by apt-get where that may be
	@{ PATH="$$PATH:/usr/sbin" command -v mariadbd && command -v rsync && \
		ls /usr/lib/galera/libgalera_smm.so /usr/lib64/galera-4/libgalera_smm.so \
			2>/dev/null | grep -q . ; } >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			$(MYSQL_PACKAGES) >/dev/null && { service mariadb stop >/dev/null 2>&1 || true; }; } || { \
		echo 'No MariaDB with Galera, and it may not be installed here:' \
			'install $(MYSQL_PACKAGES).' >&2; exit 1; }
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m mysql --ignore=tests/galera
	@$(BIN)/python -m pytest -n0 -m mysql tests/galera

.PHONY: serve
serve: $(VENV)/demo.stamp ## Serve the endpoint over a few jobs, to try it
	@$(BIN)/batch-cancel serve

.PHONY: schedulers
schedulers: $(VENV)/test.stamp $(LIBRARIES:%=$(VENV)/schedulers/%.stamp) ## Race cancels against the workers of every library
	@BATCH_CANCEL_TEST_LIBRARIES=all $(BIN)/python -m pytest -n0 -q tests/schedulers
	@$(BIN)/python -m tests.schedulers

.PHONY: wiring
wiring: $(VENV)/test.stamp $(LIBRARIES:%=$(VENV)/schedulers/%.stamp) ## Cross every library's settings with a start's life; count wrong answers
	@$(BIN)/python -m tests.wiring

.PHONY: proof
proof: $(VENV)/proof.stamp ## Explore every interleaving, plant every bug; count what was found
	@$(BIN)/python -m tests.proof

.PHONY: mutants
mutants: $(VENV)/proof.stamp ## Try every mutant of the domain, the use cases and the memory store, in three hours
	@$(BIN)/python -m tests.proof.mutation_run domain

.PHONY: bench
bench: $(VENV)/bench.stamp $(PEERS:%=$(VENV)/schedulers/%.stamp) ## Measure speed on an idle machine, beside the floors and the peers; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks

.PHONY: bench-quick
bench-quick: $(VENV)/bench.stamp $(PEERS:%=$(VENV)/schedulers/%.stamp) ## Run the benchmarks on small tables in two minutes; writes to build/
	@$(BIN)/python -m benchmarks --quick

# What is left out needs the pins of `make test`: a comparison with what is installed, and a redis-py
# that is too new for arq.
.PHONY: lowest
lowest: export BATCH_CANCEL_TEST_SCHEDULERS = $(abspath $(VENV)/schedulers)
lowest: $(LOWEST).stamp $(LIBRARIES_SHORT:%=$(VENV)/schedulers/%.stamp) ## Run the tests of `make test` with the lowest versions that pyproject.toml allows
	@$(LOWEST)/bin/python -m pytest $(PYTEST_ARGS) -m 'not repeats and not mysql' \
		--ignore tests/unit/test_pins.py --deselect tests/schedulers/test_arq.py

.PHONY: dist
dist: $(VENV)/dist.stamp ## Build sdist and wheel twice, compare and check them; leaves them in dist/
	@$(BIN)/python -m tests.distribution

.PHONY: extras
extras: dist ## Install the wheel with each extra alone, newest and lowest, and import its adapters
	@$(BIN)/python -m tests.distribution.extras

# What is drawn and written from the source is checked in: a test compares it.
.PHONY: docs
docs: $(VENV)/docs/docs.stamp ## Draw the pictures, write the generated pages, build the site; writes to build/docs
	@$(VENV)/docs/bin/python -m documentation
	@$(VENV)/docs/bin/python -m sphinx -W --keep-going -q -b html -d build/doctrees \
		-c documentation docs build/docs
	@echo 'Built: build/docs/index.html'

.PHONY: check
check: $(VENV)/check.stamp ## Lint, formatting, types and layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python -m tests.layers
	$(BIN)/python -m tests.complete_types
	@$(NO_HOSTS) || { echo 'requirements/ names a host: make pins writes none.' >&2; exit 1; }
	@$(PIP) check || { echo 'requirements/ contradicts itself: make pins' >&2; exit 1; }

.PHONY: format
format: $(VENV)/check.stamp ## Format the code and apply the safe fixes of the linter
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: install
install: $(VENV)/check.stamp ## Only make the environment that the other targets use
	@echo 'Ready: $(BIN)/python'

.PHONY: clean
clean: ## Remove the environments and all caches
	rm -rf .venv .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf build dist htmlcov .coverage .coverage.*
	find src $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Pins: requirements/ -----------------------------------------------------------------------

# Every file holds versions and hashes of the public index's files, for every platform and every
# Python from 3.11 on; no URL and no host. The smaller sets are cut out of the largest one. Extras
# are named: to the pip that comes with Python 3.11, `coverage==7.17.3` does not pin the
# `coverage[toml]` of pytest-cov, and its next release breaks the install.
COMPILE = $(VENV)/uv/bin/uv pip compile --no-config --quiet --upgrade --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	--no-strip-extras
BUILD := requirements/build.in
# A group names extras of this project, which is the one in this directory and gets no pin.
GROUP = echo . | $(COMPILE) --no-emit-package batch_cancel - $(BUILD) --group
NO_HOSTS = ! grep -rnE '://|^ *-(i|f|-index-url|-extra-index-url|-find-links)' requirements

.PHONY: pins
pins: $(VENV)/uv/bin/uv ## Pin the newest versions of everything in requirements/
	$(GROUP) check -o requirements/check.txt
	$(GROUP) test -c requirements/check.txt -o requirements/test.txt
	$(COMPILE) --extra serve pyproject.toml $(BUILD) -c requirements/check.txt -o requirements/demo.txt
	$(GROUP) proof -c requirements/check.txt -o requirements/proof.txt
	$(GROUP) bench -c requirements/check.txt -o requirements/bench.txt
	$(GROUP) docs -c requirements/check.txt -o requirements/docs.txt
	$(GROUP) dist -c requirements/check.txt -o requirements/dist.txt
	$(GROUP) test --all-extras pyproject.toml --resolution lowest-direct -c requirements/lowest.in \
		-o requirements/lowest.txt
	echo pip | $(COMPILE) - -o requirements/pip.txt
	for library in $(LIBRARIES); do \
		$(COMPILE) requirements/schedulers/$$library.in \
			-o requirements/schedulers/$$library.txt || exit 1; done
	@$(NO_HOSTS)

$(VENV)/uv/bin/uv: $(VENV)/venv.stamp
	$(PYTHON) -m venv --clear $(VENV)/uv
	$(VENV)/uv/bin/python -m pip install --quiet uv

# Environments: .venv/VERSION/ --------------------------------------------------------------

# A stamp is written when its step is complete, so that an interrupted install is taken up again.
# -qq: pip keeps silent about all but errors.
$(VENV)/%.stamp: requirements/%.txt pyproject.toml $(VENV)/venv.stamp
	@echo 'Installing requirements/$*.txt into $(VENV) ...'
	@$(PIP) install -qq --no-input --require-hashes --requirement requirements/$*.txt
	@$(PIP) install -qq --no-input --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# The lowest versions are no subset of the newest: they live in an environment of their own, with the
# pinned pip, for pip 23 refuses a pin with extras if there is a newer version.
$(LOWEST).stamp: requirements/lowest.txt requirements/pip.txt pyproject.toml $(VENV)/venv.stamp
	@echo 'Installing $< into $(LOWEST) ...'
	@$(PYTHON) -m venv --clear --without-pip $(LOWEST)
	@$(PIP) --python $(LOWEST)/bin/python install -qq --no-input --require-hashes \
		--requirement requirements/pip.txt
	@$(LOWEST)/bin/python -m pip install -qq --no-input --require-hashes --requirement $<
	@$(LOWEST)/bin/python -m pip install -qq --no-input --no-deps --no-build-isolation \
		--no-index --editable .
	@touch $@

# Sphinx is in an environment of its own, so that nothing that is tested depends on what it needs.
$(VENV)/docs/docs.stamp: requirements/docs.txt pyproject.toml $(VENV)/venv.stamp
	@echo 'Installing requirements/docs.txt into $(VENV)/docs ...'
	@$(PYTHON) -m venv --clear --without-pip $(VENV)/docs
	@$(PIP) --python $(VENV)/docs/bin/python install -qq --no-input \
		--require-hashes --requirement requirements/docs.txt
	@$(PIP) --python $(VENV)/docs/bin/python install -qq --no-input --no-deps \
		--no-build-isolation --no-index --editable .
	@touch $@

# A library's environment holds the library and what our adapter needs; ours is found by its path.
$(VENV)/schedulers/%.stamp: requirements/schedulers/%.txt $(VENV)/venv.stamp
	@echo 'Installing $< into $(VENV)/schedulers/$* ...'
	@$(PYTHON) -m venv --clear --without-pip $(VENV)/schedulers/$*
	@$(PIP) --python $(VENV)/schedulers/$*/bin/python install -qq --no-input \
		--require-hashes --requirement $<
	@touch $@

# Where the standard library's venv cannot bring pip along (Debian without python3-venv), the
# system's own pip installs the pinned one into it.
$(VENV)/venv.stamp: requirements/pip.txt
	@test -n '$(VERSION)' || { echo "'$(PYTHON)' does not run: make TARGET PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'batch_cancel needs Python 3.11 or later: make TARGET PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -qq --no-input \
			--require-hashes --requirement requirements/pip.txt; } || { \
		echo 'No pip for $(PYTHON): install ensurepip or pip (Debian: python3-venv).' >&2; exit 1; }
	@touch $@
