# Everything here works alone on a fresh machine: each target prepares what it needs first (scripts/setup).

VENV := $(or $(TACITA_VENV),.venv)
MODEL ?= smollm2-135m
ARGS ?=

# Models, hints, settings and history of these targets stay in this folder unless TACITA_HOME says otherwise.
export TACITA_HOME ?= $(CURDIR)/.tacita
# Through the environment, so that no character of it means anything to the shell.
export PROMPT

.DEFAULT_GOAL := help
.PHONY: help chat ask app serve test check lint format security conformance package clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

chat: ## chat on the local server: a window, or the terminal where there is no display
	@scripts/chat

ask: ## one question: make ask PROMPT="..." [JSON=1] [ARGS="--max-tokens 40"]
	@[ -n "$$PROMPT" ] || { echo 'Say what to ask: make ask PROMPT="What is the capital of France?"' >&2; exit 2; }
	@scripts/setup run
	@$(VENV)/bin/tacita ask --local $(if $(JSON),--json) $(ARGS) -- "$$PROMPT"

app: ## the window
	@scripts/setup window
	@$(VENV)/bin/python -m app

serve: ## a server for others: make serve [MODEL=smollm2-135m] [ARGS="..."]
	@scripts/setup run
	@$(VENV)/bin/tacita-server pull $(MODEL)
	@$(VENV)/bin/tacita-server serve $(ARGS)

test: ## every test: make test [ARGS="-k name"]
	@scripts/setup test
	@scripts/test $(ARGS)

check: ## format, lint, types, import contracts
	@scripts/setup run
	@scripts/check

security: ## the seven invariants and both hostile suites, as a table
	@scripts/setup test
	@scripts/security

conformance: ## the same models through Concrete ML itself and through Tacita (6.5 GB, an environment of its own)
	@scripts/setup test
	@scripts/conformance $(ARGS)

lint: ## format and lint only, fast
	@scripts/setup run
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check .

format: ## put the sources in order
	@scripts/setup run
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

package: ## the desktop's .deb and .tar.zst in dist/ (docs/packaging.md)
	@packaging/build

clean: ## remove the environment and caches; models and history in .tacita stay
	rm -rf .venv .venv-conformance build dist tacita.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
