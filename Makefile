# Two commands matter: `make demo` and `make test`. `make` alone lists them all.
.DEFAULT_GOAL := help
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
# Every run is a process of its own: without cached bytecode each would compile torch's sources anew.
unexport PYTHONDONTWRITEBYTECODE

# An interpreter of your own that already has torch: make demo PYTHON=/path/to/python
PYTHON ?= .venv/bin/python
BASE   ?= python3
USED   := $(if $(findstring /,$(PYTHON)),$(PYTHON),$(shell command -v $(PYTHON)))
READY  := $(if $(filter .venv/bin/python,$(USED)),.venv/ready,.ready-$(subst /,_,$(USED)))
RUN    := PATH="$(abspath $(dir $(USED))):$$PATH"
# Four workers for two cores: those that test Slurm and servers mostly wait.
PYTEST := python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-docs test-all check docs imports ui cluster new schemas readme lock help clean

demo: $(READY)  ## compare real trainings on scikit-learn's digits, in minutes, no data to download
	@$(RUN) snakemake --profile profiles/local --configfile config/demo.yaml

test: $(READY)  ## all tests but the slow ones, a GPU's and the site's; METHOD=name: of that method alone
	@$(RUN) $(PYTEST) -m "not slow and not gpu and not site" $(if $(METHOD),tests/contract -k $(METHOD))

test-docs: $(READY)  ## build the documentation site, follow its links, run its tutorial
	@$(RUN) $(PYTEST) -m "site and not slow"

test-all: $(READY)  ## the slow ones too
	@$(RUN) $(PYTEST)

check: $(READY)  ## lint, format, types, import rules, spelling, workflow lint
	@$(RUN) sh -e tests/check.sh

docs: $(READY)  ## the documentation site, in build/docs/html
	@$(RUN) python -m sphinx -q -W --keep-going -c docs -d build/docs/doctrees . build/docs/html
	@echo "docs  file://$(CURDIR)/build/docs/html/index.html"

imports: $(READY)  ## count modules, longest chain of imports, circles, and imports against the layers
	@$(RUN) python tools/imports.py

ui: $(READY)  ## mirror the runs into MLflow and open its server on loopback
	@$(RUN) modulewise ui

cluster: $(READY)  ## a throw-away Slurm on this machine and your shell in it; ACCOUNTING=1 adds its database
	@$(RUN) python tools/slurm shell $(if $(ACCOUNTING),--accounting)

new: $(READY)  ## make new METHOD=name: a method file, a recipe and a test row to fill in
	@$(RUN) modulewise new $(METHOD)

schemas: $(READY)  ## regenerate workflow/schemas from src/modulewise/config
	@$(RUN) modulewise schema

readme: $(READY)  ## publish the last demo's table and figure, in README.md too
	@$(RUN) python docs/publish.py demo

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	    --extra mlflow --extra dev --extra docs --constraint constraints.txt --quiet --output-file requirements.lock pyproject.toml

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 12

clean:  ## remove the virtual environment and caches, never results
	rm -rf .venv .ready-* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/ready: requirements.lock pyproject.toml
	@echo "installing into .venv (once; 3.3 GB to download, most of it torch)"
	@.venv/bin/python -m pip --version > /dev/null 2>&1 || $(BASE) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.ready-%: pyproject.toml
	@$(USED) -m pip install --quiet --disable-pip-version-check -e '.[mlflow,dev,docs]'
	@touch $@
