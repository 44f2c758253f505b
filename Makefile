# Every verb works from a fresh clone: what it needs is installed on the first call, from package registries alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help export check cams demo test test-workstation test-runtime lint bench data dist clean

PYTHON ?= python3

# Set on the command line. Assigned here so that a NAME or OUT that happens to be in the environment changes nothing.
DATA =
NAME =
TASK =
INIT =
SEED =
STEPS =
OUT = dist
BUNDLE =
ARGS =

# $(call flag,name,value): "--name value" where there is a value, so that each default is written in the program alone.
flag = $(if $(2),--$(1) $(2))

help:
	@echo "make VERB [VARIABLE=value ...], for example: make export DATA=photos NAME=janken"
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "PYTHON=python3.12 picks the Python that the environments are made with (3.10 to 3.13)."

export: .venv/.installed ## train a bundle into OUT=dist [DATA= NAME= TASK= INIT=checkpoint|imagenet|random SEED= STEPS=]
	.venv/bin/python -m export $(call flag,data,$(DATA)) $(call flag,name,$(NAME)) $(call flag,task,$(TASK)) \
	    $(call flag,init,$(INIT)) $(call flag,seed,$(SEED)) $(call flag,steps,$(STEPS)) $(call flag,out,$(OUT))

# Without photos rendered frames are judged, and the table says so.
RENDERED = build/heldout-rendered.npz
CHECKED = $(or $(DATA),$(wildcard data/janken_dataset data/hands_dataset),$(RENDERED))

check: .venv/.installed ## compare float and int8 on held-out photos, fail below the gate [BUNDLE= DATA=]
	$(if $(filter $(RENDERED),$(CHECKED)),.venv/bin/python -m export heldout --file $(RENDERED))
	.venv/bin/python -m calibration check $(call flag,bundle,$(BUNDLE)) --data $(CHECKED)

cams: .venv/.installed ## compare the heat with Grad-CAM and its kin, in build/report/cams.html [BUNDLE= DATA=]
	.venv/bin/python -m export cams $(call flag,bundle,$(BUNDLE)) $(call flag,data,$(DATA)) \
	    --page build/report/cams.html --csv build/report/cams.csv

demo: .venv-demo/.installed ## play janken with the shipped bundle [ARGS="--source photos --mode box"]
	.venv-demo/bin/python runtime/janken.py $(ARGS)

test: ## run tests/ on the workstation's packages, then tests/runtime on the device's
	@$(MAKE) --no-print-directory --keep-going test-workstation test-runtime

test-workstation: .venv/.installed
	.venv/bin/python -m pytest tests

test-runtime: .venv-runtime/.installed
	.venv-runtime/bin/python -m pytest tests/runtime

lint: .venv-lint/.installed ## check the code with ruff
	.venv-lint/bin/ruff check .

bench: .venv/.installed ## time a frame: Grad-CAM, the reference loop, ours float, ours int8
	.venv/bin/python scripts/bench.py

data: .venv/.installed ## download the two public photo sets into data/
	.venv/bin/python scripts/fetch_data.py

dist: .venv/.installed ## pack models/janken, or BUNDLE=, with the runtime into OUT=dist
	.venv/bin/python -m export pack $(call flag,bundle,$(BUNDLE)) $(call flag,out,$(OUT))

clean: ## remove build/, dist/ and caches (photos and environments stay)
	rm -rf build dist .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

# The environments. Each has a stamp, written last: an interrupted installation leaves none and is begun again, and a
# change of the requirements makes the environment anew.

.venv/.installed: requirements/workstation.txt
	$(call install,10,13,2.6 GB)

.venv-runtime/.installed: requirements/runtime-test.txt requirements/runtime.txt
	$(call install,9,13,170 MB)

.venv-demo/.installed: requirements/demo.txt requirements/runtime.txt
	$(call install,9,13,340 MB)

.venv-lint/.installed: requirements/lint.txt
	$(call install,9,13,50 MB)

die = { echo "$(1)" >&2; exit 1; }

# $(call install,LOWEST,HIGHEST,SIZE): an environment in $(@D) from $<, for Python 3.LOWEST to 3.HIGHEST. Of pip's many
# lines the downloads of 10 MB and more are shown.
define install
	@command -v $(PYTHON) > /dev/null || $(call die,$(PYTHON) was not found: sudo apt install python3 python3-venv)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, $(1)) <= sys.version_info[:2] <= (3, $(2)))' || \
	    $(call die,$(@D) needs Python 3.$(1) to 3.$(2) but $(PYTHON) is $$($(PYTHON) -V): name one with PYTHON=python3.$(2))
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	    $(call die,$(PYTHON) cannot make an environment: sudo apt install python3-venv)
	@echo "installing $(<F) into $(@D) (up to $(3) on disk, once)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --no-input --disable-pip-version-check --progress-bar off -r $< \
	    | sed -nu -E 's/^ *(Downloading|Using cached) ([^ -]+)-[^ ]* \(([0-9]{2,}(\.[0-9]+)? MB)\).*/  \2 \3/p'
	@touch $@
endef
