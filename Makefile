# Everything a newcomer, a developer and the CI run. `make` alone lists the targets.
PYTHON3 ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo up test check fmt docs clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(PYTHON):
	$(PYTHON3) -m venv $(VENV)

$(VENV)/.run: $(PYTHON) pyproject.toml constraints.txt
	@echo "installing (a few minutes the first time)"
	$(PIP) --editable .
	$(VENV)/bin/ourvidz-worker models fetch
	@touch $@

$(VENV)/.dev: $(VENV)/.run tools/services
	tools/services
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run ## install, run a chat, an image and a video job on the pocket models, show the results
	$(PYTHON) tools/demo.py

up: $(VENV)/.run ## serve on this machine until Ctrl-C
	$(VENV)/bin/ourvidz-worker up

check: $(VENV)/.dev ## gates, unit and contract tests (under 4 minutes)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/check

test: $(VENV)/.dev ## everything: check with its coverage, and the tests with real pods
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/check --cover
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/e2e tests/contract -m e2e

fmt: $(VENV)/.dev ## format the code
	$(VENV)/bin/ruff format src tests tools bench
	$(VENV)/bin/ruff check --fix src tests tools bench

docs: $(VENV)/.dev ## write the generated reference
	$(PYTHON) tools/reference.py

clean: ## remove what was installed and produced
	rm -rf $(VENV) demo-output state
