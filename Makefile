# A machine with python3 and pip is enough: every target makes .venv first when it is missing or out of date.
# pip takes its index from the user's own settings (pip.conf, PIP_INDEX_URL, ...).

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
LOG := $(VENV)/install.log
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint slow bench gpu clean constraints
.NOTPARALLEL:
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## 64 molecules with qed near 0.9 and logp between 2 and 3, into demo/
	@mkdir -p demo
	@$(VENV)/bin/genesis molecules --target-property qed=0.9 --target-property logp=2:3 --count 64 --seed 0 \
	    --out demo/hits.csv --picture demo/hits.png
	@echo "demo/hits.csv   the molecules: what was asked of each and what was measured on it"
	@echo "demo/hits.png   the same, drawn"

test: lint ## style, types, floors, then every test that is neither slow nor needs a network
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(STAMP) ## style, types and floors alone
	@echo "ruff" && $(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --check --quiet .
	@echo "mypy" && $(VENV)/bin/mypy --no-error-summary genesis kernels domains
	@echo "import-linter" && log=$$($(VENV)/bin/lint-imports --no-logo) || { echo "$$log"; exit 1; }

slow: $(STAMP) ## the tests that take longer than a few seconds
	@$(PY) -m pytest -m "slow and not network"

bench: $(STAMP) ## molecules a second beside the same network in Hugging Face's loop (installs transformers)
	@$(PY) -c 'import transformers' 2> /dev/null || $(PY) -m pip install --quiet -c constraints.txt -e ".[bench]"
	@$(PY) benchmarks/hugging_face.py

gpu: $(STAMP) ## everything that needs a GPU, in eight minutes, into benchmarks/results/ and docs/kernels.md
	@$(PY) benchmarks/gpu.py

constraints: $(STAMP) ## pin anew what the extras dev and train install; TORCH=2.13.0 chooses another torch
	@set -e; echo "resolving"; torch=$(or $(TORCH),$$(sed -n 's/^torch==//p' constraints.txt)); \
	$(PY) -m pip install -qq --dry-run --ignore-installed --report $(VENV)/report.json \
	    "torch==$$torch" -e ".[dev,train]"; \
	sed -n '/^#/p' constraints.txt > $(VENV)/constraints.txt; \
	$(PY) -c 'import json, sys; found = [(i["metadata"]["name"], i["metadata"]["version"].split("+")[0]) \
	    for i in json.load(open(sys.argv[1]))["install"]]; \
	print(*sorted((f"{n}=={v}" for n, v in found if n not in ("genesis-engine", "triton")), key=str.lower), sep="\n")' $(VENV)/report.json \
	    >> $(VENV)/constraints.txt; \
	mv $(VENV)/constraints.txt constraints.txt; echo "constraints.txt: $$(grep -c == constraints.txt) versions"

clean: ## remove .venv, caches and what demo, bench and builds made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "genesis needs Python 3.11 or newer; $(PYTHON) --version says: $$($(PYTHON) --version 2>&1 || true)" >&2; \
	    echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@# Debian keeps ensurepip in a package of its own; the pip outside can then fill the environment
	@test -x $(PY) && $(PY) -m pip --version > /dev/null 2>&1 || { \
	    echo "making $(VENV) with $$($(PYTHON) --version)"; rm -rf $(VENV); \
	    $(PYTHON) -m venv $(VENV) > /dev/null 2>&1 || { \
	        rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) && \
	        $(PYTHON) -m pip --quiet --python $(PY) install pip; } || { \
	        rm -rf $(VENV); echo "$(PYTHON) can make no virtual environment: install its venv module" \
	            "(Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }; }
	@echo "installing genesis and its tools (once; torch is the large one; all lines in $(LOG))"
	@set -o pipefail; $(PY) -m pip install -c constraints.txt -e ".[dev]" 2>&1 | tee $(LOG) | \
	    awk '/^ *Downloading .*[0-9.]+ [MG]B/ {sub(/.*Downloading /, "  "); sub(/.*\//, "  "); print; fflush()} \
	         /^Installing collected/ {print "  unpacking"; fflush()}' || { \
	    echo "pip failed; its last lines:" >&2; tail -n 15 $(LOG) >&2; exit 1; }
	@touch $(STAMP)
