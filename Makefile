# Two commands: `make demo` and `make test`. Both set everything up and do not do it twice.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := connectors embed index flows
DEMO_HOME := .demo
WORKERS ?= $(shell expr $$(nproc) + 1)

export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1

.PHONY: help install demo demo-disaster test check unit proof types-links format clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@echo "── installing into $(VENV): some minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	$(BIN)/python -m pip check
	$(BIN)/python -c "import trafilatura, pypdfium2, pptx, openpyxl, docx, tenacity"
	@touch $@

install: $(STAMP)  ## a virtual environment with everything in it

demo: $(STAMP)  ## ingest the bundled documents, show the accounting, answer a question
	@echo "── ingesting examples/documents into $(DEMO_HOME)"
	@$(BIN)/penstock ingest examples/documents --home $(DEMO_HOME)
	@echo "── asking a question"
	@$(BIN)/penstock search --home $(DEMO_HOME) -k 3 "What happens when a replica is lost?"

demo-disaster: $(STAMP)  ## kills, losses, a restore, and what they cost, counted; FOLDER=… for your own documents
	@$(BIN)/python -m examples.disaster $(FOLDER)

test: check unit  ## all checks: style, types, tests

check: $(STAMP) types-links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.types $(BIN)/mypy --namespace-packages --explicit-package-bases \
	  -p penstock.connectors -p penstock.embed -p penstock.index -p penstock.flows

# A file is one process's, so that a server it starts is started once; one process more than cores, because many tests
# wait for a server. One thread each for OpenMP: processes that compute at the same time with as many threads as there
# are cores are ten times slower.
unit: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile

proof: $(STAMP)  ## everything that proves penstock, an hour and a quarter; writes docs/reliability.md
	$(BIN)/python -m tests.proof

# mypy follows paths, the packages stand at the root: these links show them as penstock.*
types-links:
	@mkdir -p .types/penstock
	@for package in $(PACKAGES); do ln -sfn ../../$$package .types/penstock/$$package; done

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what make made, the demo's index included
	rm -rf $(VENV) .types $(DEMO_HOME) .demo-disaster build *.egg-info
