.DEFAULT_GOAL := help
.PHONY: help dev run check test conformance lint format types bench lock audit clean

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
FOUND = $(or $(PYTHON),$(error Python 3.11 or later is needed, and none was found))
BIN := .venv/bin

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 13

run: ## The whole service on this machine, until Ctrl-C (PORT=3003)
	@exec "$(FOUND)" -m deploy.local

check: lint types ## Style, imports, types, and the tests that need no process of the service, in a minute
	@$(BIN)/python -m pytest --quiet --numprocesses=2 --dist=loadfile -m "not processes and not slow" $(ARGS)

test: dev ## All tests, on servers they start themselves (ARGS="-k stock")
	@$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

conformance: dev ## Requests at random against the running service, each mode so long (SECONDS=600)
	@CONFORMANCE_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/conformance $(ARGS)

lint: dev ## Style and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: dev ## Put the code into the one form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: dev ## The types of all that is shipped
	@$(BIN)/mypy app tasks migrations deploy requirements wsgi.py

bench: dev ## Speed, each figure beside its floor on this machine
	@$(BIN)/python -m benchmarks $(ARGS)

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: dev ## Resolve the requirements anew (ARGS=--upgrade for later versions)
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in -o runtime.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in stripe.in -c runtime.txt -o stripe.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in otel.in -c stripe.txt -o otel.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in local.in -c runtime.txt -o local.txt
	@cd requirements && ../$(BIN)/$(LOCK) runtime.in stripe.in otel.in local.in test.in lint.in -c local.txt -c otel.txt -o dev.txt

audit: dev ## Licences and known vulnerabilities of what is locked (ARGS=--offline)
	@$(BIN)/python -m requirements.audit $(ARGS)

clean: ## Remove what was built and what the local service stored
	@rm -rf .venv .local build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

dev:
	@"$(FOUND)" -m deploy.local.venv requirements/dev.txt
