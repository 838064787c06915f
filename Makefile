# One door to everything; CI runs the same recipes. `make help` lists them.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help demo test lint format bench page build clean

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
SERVE ?= 1
PORT ?= 8080
SHORT ?=
PYTEST ?= .venv/bin/pytest
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never

help: ## list the recipes
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

$(UV): # uv installs what uv.lock says; it comes from PyPI into a directory of its own
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv .uv || { rm -rf .uv; echo "make: no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.installed: $(UV) pyproject.toml uv.lock # bytecode compiled: it halves the time of a build
	@$(UV) sync --quiet --locked --compile-bytecode --python $(PYTHON)
	@.venv/bin/python -m reportgen.bundle # the charts' script, once for a version of its libraries
	@touch $@

demo: .venv/.installed ## build the sample site and serve it on http://127.0.0.1:8080 (SERVE=0 only builds)
	@.venv/bin/python -m compileall -q reportgen
	@.venv/bin/reportgen demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve,--serve)

test: .venv/.installed ## the whole suite, with a real PostgreSQL and a real Chromium
	@.venv/bin/python tests/browser.py || true # tests in a browser skip, and say why, where there is none
	@$(PYTEST)

lint: .venv/.installed ## style, types, the floors of the house, and the Dockerfile
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/hadolint Dockerfile

format: .venv/.installed ## mend the style
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .

bench: .venv/.installed ## measure everything beside others, into docs/performance.md: 20 minutes (SHORT=1: a look, printed)
	@.venv/bin/python bench/all.py $(if $(SHORT),--short)

page: .venv/.installed ## weight of the sample's pages, and what Lighthouse says of them (needs Node.js and Chromium)
	@.venv/bin/python bench/lighthouse.py

build: .venv/.installed ## the wheel and the source distribution, in dist/
	@$(UV) build --quiet --out-dir dist

clean: ## remove the environment and everything made
	rm -rf .venv .uv .bench dist reportgen/assets/*.js* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
