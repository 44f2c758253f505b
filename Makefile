# Every verb works from a fresh clone: what it needs is installed on the first call, from package registries alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help export check cams demo test test-workstation test-runtime test-runtime-313 lint bench bench-pi soak pi-test data dist deploy rollback clean

PYTHON ?= python3

# Set on the command line. Assigned here so that a NAME or OUT that happens to be in the environment changes nothing.
DATA =
NAME =
TASK =
INIT =
SEED =
STEPS =
SIZE =
OUT = dist
BUNDLE =
FRAMES =
HOST =
SSH = ssh
SERVICE =
ARGS =

# $(call flag,name,value): "--name value" where there is a value, so that each default is written in the program alone.
flag = $(if $(2),--$(1) $(2))

help:
	@echo "make VERB [VARIABLE=value ...], for example: make export DATA=photos NAME=janken"
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "PYTHON=python3.12 picks the Python that the environments are made with (3.10 to 3.13)."

export: .venv/.installed ## train a bundle into OUT=dist [DATA= NAME= TASK=classify|anomaly INIT=checkpoint|imagenet|random SEED= STEPS= SIZE=]
	.venv/bin/python -m export $(call flag,data,$(DATA)) $(if $(NAME),--name '$(NAME)') $(call flag,task,$(TASK)) \
	    $(call flag,init,$(INIT)) $(call flag,seed,$(SEED)) $(call flag,steps,$(STEPS)) $(call flag,size,$(SIZE)) \
	    $(call flag,out,$(OUT))

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

test: ## run tests/ on the workstation's packages, then tests/runtime on the device's, old and new
	@$(MAKE) --no-print-directory --keep-going test-workstation test-runtime test-runtime-313

test-workstation: .venv/.installed
	.venv/bin/python -m pytest tests

test-runtime: .venv-runtime/.installed
	.venv-runtime/bin/python -m pytest tests/runtime

# What a Pi with Python 3.13 has: ai-edge-litert and numpy 2. pyenv's folders come first, because its python3.13 on the
# PATH may be there and yet refuse.
PYTHON_313 = $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python $(addsuffix /python3.13,$(subst :, ,$(PATH)))))

test-runtime-313: $(if $(PYTHON_313),.venv-runtime-313/.installed)
	$(if $(PYTHON_313),.venv-runtime-313/bin/python -m pytest tests/runtime,\
	    @echo "tests/runtime on Python 3.13: skipped, no python3.13 on the PATH and none of pyenv's")

lint: .venv-lint/.installed ## check the code with ruff, the shell scripts with shellcheck
	.venv-lint/bin/ruff check .
	.venv-lint/bin/shellcheck scripts/*.sh .ci/run

# Rendered hands of a camera's size. Drawn by another process: the soak's own holds what the device's would, no more.
build/soak.npy: | .venv/.installed
	mkdir -p $(@D)
	.venv/bin/python -c 'import numpy; from scripts.bench import frames; numpy.save("$@", frames(None, 20))'

soak: .venv/.installed build/soak.npy ## play 100,000 frames, fail if memory, threads or descriptors grow [BUNDLE= FRAMES= ARGS="--display web"]
	.venv/bin/python scripts/soak.py --source build/soak.npy $(call flag,bundle,$(BUNDLE)) $(call flag,frames,$(FRAMES)) $(ARGS)

pi-test: .venv/.installed .venv-runtime/.installed $(if $(PYTHON_313),.venv-runtime-313/.installed) ## install and run the bundle on emulated Pis, compare with this machine [BUNDLE= DATA= FRAMES=]
	$(if $(filter $(RENDERED),$(PI_DATA)),.venv/bin/python -m export heldout --file $(RENDERED))
	.venv/bin/python scripts/pi_test.py $(call flag,bundle,$(BUNDLE)) --data $(PI_DATA) $(call flag,frames,$(FRAMES)) \
	    --native .venv-runtime/bin/python $(if $(PYTHON_313),.venv-runtime-313/bin/python)

PI_DATA = $(or $(DATA),$(wildcard data/janken_dataset),$(RENDERED))

bench: .venv/.installed ## time a frame beside its peers on this machine: Grad-CAM, the reference loop, FOMO, ours [BUNDLE=]
	.venv/bin/python scripts/bench.py $(call flag,bundle,$(BUNDLE))

bench-pi: .venv/.installed ## count a frame's instructions on emulated Pis, peers beside, fail above the targets [BUNDLE=]
	.venv/bin/python scripts/bench_pi.py $(call flag,bundle,$(BUNDLE)) $(ARGS)

data: .venv/.installed ## download the two public photo sets into data/
	.venv/bin/python scripts/fetch_data.py

dist: .venv/.installed ## pack models/janken, or BUNDLE=, with the runtime into OUT=dist
	.venv/bin/python -m export pack $(call flag,bundle,$(BUNDLE)) $(call flag,out,$(OUT))

# The first deploy also installs on the Pi what is missing there. ARGS= takes the rest of scripts/deploy.py's options.
deploy: ## put a bundle onto a Pi, check it there, switch to it: HOST=pi@raspberrypi.local [BUNDLE=dist/….tar.gz SERVICE= SSH=]
	@$(need-host)
	@$(PYTHON) scripts/deploy.py deploy $(HOST) $(call flag,bundle,$(BUNDLE)) $(call flag,out,$(OUT)) --ssh '$(SSH)' \
	    $(if $(SERVICE),--service '$(SERVICE)') $(ARGS)

rollback: ## go back to the version before, on the Pi: HOST=pi@raspberrypi.local [SSH="ssh -p 2222"]
	@$(need-host)
	@$(PYTHON) scripts/deploy.py rollback $(HOST) --ssh '$(SSH)' $(ARGS)

need-host = $(if $(HOST),:,$(call die,HOST is missing; for example: make $@ HOST=pi@raspberrypi.local))

clean: ## remove build/, dist/ and caches (photos and environments stay)
	rm -rf build dist .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

# The environments. Each has a stamp, written last: an interrupted installation leaves none and is begun again, and a
# change of the requirements makes the environment anew.

.venv/.installed: requirements/workstation.txt
	$(call install,10,13,2.6 GB)

.venv-runtime/.installed: requirements/runtime-test.txt requirements/runtime.txt
	$(call install,9,13,170 MB)

.venv-runtime-313/.installed: override PYTHON = $(PYTHON_313)
.venv-runtime-313/.installed: requirements/runtime-test.txt requirements/runtime.txt
	$(call install,13,13,170 MB)

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
