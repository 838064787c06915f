# All recipes; CI runs the same ones. `make help` lists them.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-all test-spark chaos fuzz lint docs format bench page soak build audit clean

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
PIP_AUDIT_VERSION := 2.10.1
LOCKED := export --quiet --locked --no-dev --extra s3 --no-emit-workspace
SERVE ?= 1
PORT ?= 8080
SHORT ?=
COVERAGE ?=
PYTEST ?= .venv/bin/pytest
PARALLEL := -n logical --dist worksteal
QUICK := not slow
SECONDS ?= 400
WORKFLOWS = $(filter-out %/gitlab-ci.yml,$(wildcard examples/pages/*.yml))
HARNESSES ?= url config settings intro sqlite duckdb request rows panel
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
export PYTHONDONTWRITEBYTECODE := # otherwise each process that a test starts compiles the program again

help: ## list the recipes
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 17

$(UV): # uv installs what uv.lock says; it comes from PyPI into a directory of its own
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv .uv || { rm -rf .uv; echo "make: no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.installed: SIZE := 1.2 GB
.venv/.for-demo: SIZE := 430 MB
.venv/.for-demo: WITHOUT := --no-dev
.venv/.installed .venv/.for-demo: $(UV) pyproject.toml counter/pyproject.toml uv.lock
	@echo "installing into .venv/ ($(SIZE)); this takes a minute or two"
	@$(UV) sync --quiet --locked $(WITHOUT) --compile-bytecode --python $(PYTHON) # compiled: it halves the time of a build
	@.venv/bin/python -m reportgen.charts.vega_bundle # the charts' script, once for a version of its libraries
	@touch $@

demo: .venv/$(if $(wildcard .venv/.installed),.installed,.for-demo) ## build the sample site and serve it on http://127.0.0.1:8080 (PORT=8091: there; SERVE=0 only builds)
	@.venv/bin/python -m compileall -q reportgen
	@.venv/bin/reportgen demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve,--serve)

test: .venv/.installed ## what a change needs, with a real PostgreSQL and a real Chromium: four minutes on two cores (COVERAGE=1 measures)
	@.venv/bin/python tests/support/browser.py || true # tests in a browser skip, and say why, where there is none
	@$(PYTEST) $(PARALLEL) -m "$(QUICK)" $(if $(COVERAGE),--cov --cov-report=)
	@$(if $(COVERAGE),.venv/bin/coverage report)
	@$(if $(COVERAGE),for package in core config metrics sources publish pages; do \
	  echo "$$package: $$(.venv/bin/coverage report --format=total --include="reportgen/$$package/*") %"; done)

test-slow: .venv/.installed ## faults, limits and long runs, one at a time: half an hour
	@.venv/bin/python tests/support/browser.py || true
	@$(PYTEST) -m slow

test-all: ## make test with branch coverage, then make test-slow
	@$(MAKE) --no-print-directory test COVERAGE=1
	@$(MAKE) --no-print-directory test-slow

.spark/venv/.installed: $(UV) pyproject.toml uv.lock # its own environment: it is large, and pyarrow changes what pandas does
	@UV_PROJECT_ENVIRONMENT=.spark/venv $(UV) sync --quiet --locked --extra ibis --group spark --python $(PYTHON)
	@touch $@

test-spark: .spark/venv/.installed ## engines through Ibis: DuckDB, PostgreSQL, MariaDB and a real Spark cluster (needs Java 17 or later)
	@TEST_SPARK=required .spark/venv/bin/python -m pytest -m spark -W ignore:unclosed:ResourceWarning \
	  tests/sources # PySpark leaves its sockets to the garbage collector

chaos: .venv/.installed ## kill builds at 200 instants and start everything at once 50 times, while readers read (a quarter of an hour)
	@.venv/bin/python -m tests.faults.chaos 200 50

lint: .venv/.installed ## style, types, the layers of the packages, the Dockerfile and the workflows
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/hadolint Dockerfile
	@.venv/bin/actionlint -shellcheck .venv/bin/shellcheck .github/workflows/*.yml $(WORKFLOWS)
	@.venv/bin/zizmor --quiet --offline .github action.yml $(WORKFLOWS)

.docs/venv/.installed: $(UV) pyproject.toml uv.lock # Sphinx alone, without the program
	@UV_PROJECT_ENVIRONMENT=.docs/venv $(UV) sync --quiet --locked --only-group docs --python $(PYTHON)
	@touch $@

docs: .docs/venv/.installed ## the documents as a site, in dist/docs/: fails on a broken link, and on a document in no group
	@rm -rf dist/docs
	@.docs/venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
	  --doctree-dir .docs/doctrees --conf-dir docs . dist/docs

format: .venv/.installed ## repair the style
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .

bench: .venv/.installed ## measure everything beside others, into docs/performance.md: 30 minutes (SHORT=1: a short run, only printed)
	@.venv/bin/python bench/all.py $(if $(SHORT),--short)

page: .venv/.installed ## weight of the sample's pages, and what Lighthouse says of them (needs Node.js and Chromium)
	@.venv/bin/python bench/lighthouse.py

soak: .venv/.installed ## two thousand builds beside readers: nothing may grow (takes most of an hour)
	@.venv/bin/python -m compileall -q reportgen
	@.venv/bin/python -m tests.faults.soak

.fuzz/venv/.installed: .venv/.installed # not a development dependency: atheris has wheels for few systems
	@$(UV) venv --quiet --clear --python $(PYTHON) .fuzz/venv
	@$(UV) export --quiet --locked --no-emit-workspace --format requirements.txt > .fuzz/requirements.txt
	@$(UV) pip install --quiet --python .fuzz/venv/bin/python -r .fuzz/requirements.txt "atheris==3.0.0"
	@touch $@

fuzz: .fuzz/venv/.installed ## an hour of hostile input led by coverage (SECONDS=400 each of HARNESSES), and many more rows
	@set -e; for name in $(HARNESSES); do \
	  PYTHONPATH=. .fuzz/venv/bin/python -m tests.fuzz.run $$name --seconds $(SECONDS); done
	@FUZZ=long $(PYTEST) tests/faults/test_fuzz_rows.py tests/metrics tests/sources/test_spellings.py
	@! find .fuzz/*/finds -type f | grep . # what stands here broke a promise

build: .venv/.installed ## the wheels and the source distributions of reportgen and of the counter, in dist/
	@$(UV) build --quiet --all-packages --out-dir dist

dist/sbom.cdx.json: $(UV) pyproject.toml uv.lock # what a service is made of: no development dependencies
	@mkdir -p dist
	@$(UV) $(LOCKED) --preview-features sbom-export --format cyclonedx1.5 --output-file $@ >/dev/null

audit: dist/sbom.cdx.json ## known vulnerabilities of the locked dependencies, and their list in dist/sbom.cdx.json
	@$(UV) $(LOCKED) --format requirements.txt --output-file dist/locked.txt >/dev/null
	@$(UV) tool run --quiet --python $(PYTHON) --from "pip-audit==$(PIP_AUDIT_VERSION)" \
	  pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement dist/locked.txt || \
	  { echo "make: a dependency has a known vulnerability, as listed above, or pip-audit could not ask" >&2; \
	    echo "make: https://pypi.org/pypi/NAME/VERSION/json, which it needs; dist/sbom.cdx.json is written" >&2; exit 1; }

clean: ## remove the environment and everything made
	rm -rf .venv .uv .docs .fuzz .spark .bench dist reportgen/assets/*.js* .pytest_cache .mypy_cache .ruff_cache .coverage* .import_linter_cache .hypothesis
