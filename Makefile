.DEFAULT_GOAL := help
.PHONY: help dev run check quick test conformance lint format types bench lock audit clean

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
FOUND = $(or $(PYTHON),$(error Python 3.11 or later is needed, and none was found))
BIN := .venv/bin

# Python keeps what it has compiled. Otherwise every process of a test would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 13

run: ## Run the whole service on this machine until Ctrl-C (PORT=3003)
	@exec "$(FOUND)" -m deploy.local

check: dev ## Check style, imports and types, and run the fast tests, in about a minute
	@$(MAKE) --no-print-directory --jobs=3 lint types quick

quick: dev
	@$(BIN)/python -m pytest --quiet --numprocesses=3 --dist=loadfile --hypothesis-profile=quick -m "not processes and not slow" $(ARGS)

test: dev ## Run all tests; they start their own servers (ARGS="-k stock")
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

conformance: dev ## Send random requests to the service, and drive orders at random (SECONDS=600 for each test)
	@CONFORMANCE_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/conformance tests/model $(ARGS)

lint: dev ## Check the style and the directions of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: dev ## Check the types of all shipped code
	@$(BIN)/mypy app tasks migrations deploy requirements wsgi.py

bench: dev ## Measure the speed, and compare it with the bare driver
	@$(BIN)/python -m benchmarks $(ARGS)

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: dev ## Write the lock files (ARGS=--upgrade for newer versions)
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in -o runtime.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in stripe.in -c runtime.txt -o stripe.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in otel.in -c stripe.txt -o otel.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in local.in -c runtime.txt -o local.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in stripe.in otel.in local.in test.in lint.in -c local.txt -c otel.txt -o dev.txt

audit: dev ## Check locks, licences and known vulnerabilities of all packages (ARGS=--offline)
	@$(BIN)/python -m requirements.audit $(ARGS)

clean: ## Remove everything that make created, including the data of `make run`
	@rm -rf .venv .local build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

dev:
	@"$(FOUND)" -m deploy.local.venv requirements/dev.txt
