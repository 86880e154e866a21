# Every target sets up .venv first if it is missing or older than pyproject.toml or constraints.txt.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-system lint format mutants bench bench-cluster bench-jobs bench-pages load localisation families networks sample screenshots cluster clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
RUN := sample/results
DEMO_OUTPUT := demo_output
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile
EXPERIMENT ?=
CONTEXT ?=
LOG ?= networks_log
FAMILIES ?= families
AREA ?=

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; choose one with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: the first time takes a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Make figures of the bundled sample run; have a cell explained and a job done by the service
	@for experiment in $(RUN)/*/experiments/experiment_*; do \
	  $(BIN)/python scripts/visualization/run_improved_gradcam_on_experiments.py \
	    --exp-folder $$experiment --max-images 8 --fused \
	    --output-base $(DEMO_OUTPUT)/$$(basename $$experiment) || exit $$?; \
	done
	@echo
	@echo "Open one of the figures, for instance"
	@find $(CURDIR)/$(DEMO_OUTPUT) -name 'improved_gradcam_*.png' | sort | awk 'NR % 8 == 1 {print "  " $$0}'
	@echo "and check them all with:  $(BIN)/gradcam verify $(DEMO_OUTPUT)"
	@$(BIN)/python scripts/demo_service.py --data $(RUN) --output $(DEMO_OUTPUT)

test: $(STAMP) ## Run the tests (under eight minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not system' $(SIDE_BY_SIDE)

test-system: $(STAMP) ## Run the long tests with real processes (under 30 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m system $(SIDE_BY_SIDE) --ignore tests/system
	@$(BIN)/python -m pytest -m system tests/system

lint: $(STAMP) ## Check style, types, the direction of imports, scripts of the pages, and the container files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/oxlint --deny-warnings .
	@$(BIN)/hadolint Dockerfile.gpu
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(STAMP) ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

mutants: $(STAMP) ## Which small changes of the code do the tests not notice? (AREA="maps --tenth"; all: hours)
	@$(BIN)/python -c 'import mutmut' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	@$(BIN)/python scripts/mutants.py $(AREA)

bench: $(STAMP) ## Measure speed and write docs/performance.md (EXPERIMENT=folder, DEVICE=cuda)
	@$(BIN)/python -m benchmarks.speed $(if $(EXPERIMENT),--experiment $(EXPERIMENT)) $(if $(DEVICE),--device $(DEVICE)) --output docs/performance.md

bench-jobs: $(STAMP) ## Measure jobs with real workers and write docs/performance.md (EXPERIMENT=folder)
	@$(BIN)/python -m benchmarks.jobs $(if $(EXPERIMENT),--experiment $(EXPERIMENT)) --output docs/performance.md

bench-cluster: $(STAMP) ## Measure Redis and the coordinator under 200 simulated workers, 20 minutes; write docs/performance.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.cluster --output docs/performance.md

bench-pages: $(STAMP) ## Measure the pages in Chromium and write docs/performance.md
	@$(BIN)/python -m benchmarks.pages --output docs/performance.md

load: $(STAMP) ## Measure the service under load and write docs/performance.md (EXPERIMENT=folder, ten minutes)
	@$(BIN)/python -c 'import litserve' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]' || \
	  echo 'litserve could not be installed: the comparison with it is left out'
	@$(BIN)/python -m benchmarks.load $(if $(EXPERIMENT),--experiment $(EXPERIMENT)) --output docs/performance.md

localisation: $(STAMP) ## Are the maps where the parasites are? CONTEXT=folder with boxes.json EXPERIMENT=folder
	@test -n '$(CONTEXT)' -a -n '$(EXPERIMENT)' || { echo 'make localisation CONTEXT=folder_with_boxes.json EXPERIMENT=experiment_folder'; exit 2; }
	@$(BIN)/python -m benchmarks.localisation --data $(CONTEXT) --models $(EXPERIMENT)/cls_*/best*.pt --output docs/trust.md

families: $(STAMP) ## Train a network of each family on drawn crops; where do their maps look? (hours; FAMILIES=folder)
	@$(BIN)/python scripts/sample/families.py --output $(FAMILIES)
	@$(BIN)/python -m benchmarks.localisation --data $(FAMILIES) --models $(FAMILIES)/cls_*/best.pt --block families --output docs/trust.md

networks: $(STAMP) ## Try each network of torchvision and timm and write docs/networks.md (hours; LOG=folder goes on there)
	@$(BIN)/python -m benchmarks.networks --log $(LOG) --output docs/networks.md

sample: $(STAMP) ## Draw and train the bundled sample run anew (takes about half an hour)
	@$(BIN)/python scripts/sample/make_sample_run.py --output $(RUN) --seed 7

screenshots: $(STAMP) ## Take the pictures of the pages anew (needs Chromium)
	@$(BIN)/python scripts/screenshots.py --data $(RUN) --output docs/images

cluster: $(STAMP) ## Run nginx, two services, two workers and Redis on this machine (needs nginx; DATA=folder)
	@OMP_NUM_THREADS=1 $(BIN)/python -m processes.cluster --data $(or $(DATA),$(RUN))

clean: ## Remove what was built, and the demo's figures
	@rm -rf $(VENV) $(DEMO_OUTPUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
