# The one task runner. `make` alone lists the recipes. Every recipe can be run again at any time; what is unchanged
# since the last run is neither compiled nor installed again.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
CANDIDATES ?= 64
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 10

ROOT := $(CURDIR)
BIN := $(abspath $(VENV))/bin
PY := $(BIN)/python
# What a recipe starts finds the environment's python and pyi first.
export PATH := $(BIN):$(PATH)
# One interpreter for every build, so that the bindings are not compiled again for another one.
export PYO3_PYTHON := $(PY)
# Agents' and tests' programs leave no caches in the tree, and the recipes depend on no one's Python settings.
unexport PYTHONPATH PYTHONHOME

.PHONY: help develop test test-rust test-python lint bench demo wheel mutants fuzz git-many soak fmt clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; run make with PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: cannot make $(VENV); on Debian: apt-get install -y python3-venv" >&2; exit 1; }

develop: $(PY) ## .venv with the package as it stands in the tree, and the tools of the checks
	@$(PY) tools/install.py --extra dev

demo: $(PY) ## build, install, and watch 64 candidates race to repair a small project
	@$(PY) tools/install.py
	@dir=$$(mktemp -d "$${TMPDIR:-/tmp}/pyi-demo.XXXXXX")/repair; \
	$(PY) examples/repair/make_repo.py "$$dir"; \
	pyi race "$$dir" -n $(CANDIDATES) --agent "python $(ROOT)/examples/repair/agent.py" \
	    --test "python -m unittest -q" --onto repair; \
	echo; echo "What the race left behind: git -C $$dir log -p -1 pyi/repair"; echo; \
	git -C "$$dir" --no-pager log -p -1 pyi/repair

test: develop test-rust test-python ## all tests, Rust and Python, on what is built and installed

test-rust: $(PY)
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --locked --no-tests=pass; \
	else cargo test --workspace --locked --lib --bins --tests; fi
	@cargo test --workspace --locked --doc --quiet

test-python: develop
	@$(PY) -m pytest $(PYTEST_ARGS)

# Library code must not panic; the tests of a crate may, and their helpers stand outside #[test] functions, where
# clippy.toml's permissions do not reach.
lint: develop ## formats, clippy, ruff, strict types, the stub, the floors, module length, links
	cargo fmt --all --check
	cargo clippy --workspace --exclude pyi-testing --lib --bins --locked --quiet -- -D warnings
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic
	$(PY) -m ruff check --quiet
	$(PY) -m ruff format --check --quiet
	$(PY) -m mypy
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml pyi._native
	$(PY) tools/floors.py
	$(PY) tools/module_length.py
	$(PY) tools/links.py
	@echo "lint: clean"

bench: $(PY) ## measure every claim (python -m validation), peers in the same run
	@$(PY) tools/install.py --extra bench
	@$(PY) -m validation $(BENCH_ARGS)

wheel: develop ## one wheel with the extension and the program, in dist/
	@rm -rf build
	@$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls -l dist

# Hours for all. A sample: make mutants MUTANTS_ARGS='--shard 0/24 --sharding round-robin'. The nextest profile "mutants" stops at
# the first failure and leaves the slowest tests out (docs/design/008-mutation-testing.md).
mutants: ## mutation testing of pyi-cas and pyi-tree: survivors in target/mutants.out/missed.txt
	@cargo mutants --version >/dev/null 2>&1 || { echo "error: cargo-mutants is missing: cargo install --locked cargo-mutants" >&2; exit 1; }
	@cargo nextest --version >/dev/null 2>&1 || { echo "error: cargo-nextest is missing: cargo install --locked cargo-nextest" >&2; exit 1; }
	NEXTEST_PROFILE=mutants PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 cargo mutants --package pyi-cas --package pyi-tree \
	    --test-tool nextest --timeout 60 --cap-lints=true --output target $(MUTANTS_ARGS)

fuzz: develop ## run the fuzzer of every decoder for FUZZ_SECONDS each; needs a C++ compiler (fuzz/README.md)
	@$(PY) tools/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

# Per seed 5,000 commands on generated work trees, and 50 lines of each of the 127 commands (6,350).
git-many: ## thousands of generated git commands against git itself; PYI_GIT_SEED=<n> runs others
	@PYI_GIT_REPOSITORIES=$${PYI_GIT_REPOSITORIES:-50} PYI_GIT_VECTORS=$${PYI_GIT_VECTORS:-50} cargo nextest run --profile many -p pyi-front --no-capture -E 'test(to_us_what)'

soak: develop ## the tests marked soak: minutes to hours
	@$(PY) -m pytest -m soak --timeout=0 $(PYTEST_ARGS)

fmt: develop ## put Rust and Python sources into the common format
	cargo fmt --all
	$(PY) -m ruff check --quiet --fix-only
	$(PY) -m ruff format --quiet

clean: ## remove everything that the recipes made
	rm -rf build dist target $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis python/*.egg-info
	find python tools tests validation examples -name __pycache__ -type d -prune -exec rm -rf {} +
