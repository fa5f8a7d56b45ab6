# face-cascade: every step from faces to predictions. `make help` lists them; V=1 shows the commands.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Targets build on each other through files of a run, so `make -j train evaluate` runs them one after the other too.
.NOTPARALLEL:

PYTHON ?= python3
Q := $(if $(filter-out 0 no false,$(V)),,@)
BIN := .venv/bin
CASCADE := $(BIN)/face-cascade
PIP := $(BIN)/pip install -q --disable-pip-version-check

# What can be set on the command line. The values reach the recipes as ARG_NAME in the environment, unexpanded, and are
# only used inside of quotation marks: no shell and no further expansion by make ever interprets them. ARGS is the one
# exception: it is part of the command, as if typed there.
SETTINGS := CELEBA LFWA DATA LMDB ATTRIBUTES BATCH RUN IMAGES CAFFE_ARCHIVE CAFFE_DEBS CAFFE_ROOT
define pass
export ARG_$(1) := $$(value $(1))
unexport $(1)
endef
$(foreach setting,$(SETTINGS),$(eval $(call pass,$(setting))))
typed := $(strip $(foreach v,$(.VARIABLES),$(if $(findstring command line,$(origin $(v))),$(v))))
unknown := $(filter-out $(SETTINGS) ARGS PYTHON V MAKEFLAGS MAKEOVERRIDES -*-%,$(typed))
ifneq ($(unknown),)
$(error unknown setting $(firstword $(unknown)); settings are $(SETTINGS), ARGS, PYTHON and V (make help explains))
endif
ifneq ($(word 2,$(foreach v,CELEBA LFWA DATA,$(if $(value $(v)),$(v)))),)
$(error CELEBA=, LFWA= and DATA= each name a data set; give one of them)
endif
# The option $(1) with the value of setting $(2), or nothing.
option = $(if $(value $(2)),$(1)="$$ARG_$(2)")
run = $(call option,--run,RUN)
data = $(if $(value CELEBA),--expect=celeba "$$ARG_CELEBA")$(if $(value LFWA),--expect=lfwa "$$ARG_LFWA")$(if \
  $(value DATA),"$$ARG_DATA")

# An environment that was copied or moved with its clone still names the old place: it is set up again.
ifeq ($(shell [ ! -e .venv/ready ] || [ -L .venv ] || [ "$$(cat .venv/ready)" = "$$PWD" ] || echo moved),moved)
$(shell rm -rf .venv)
endif

.PHONY: help caffe model lmdb check-data models train average evaluate predict report onnx page ablation demo doctor test \
  test-all bench lint proto clean

define HELP

Real faces, from a CelebA download to predictions:
  make lmdb CELEBA=/path/to/CelebA ATTRIBUTES=Eyeglasses,Smiling,Male
  make train && make evaluate && make predict IMAGES=/path/to/photos

Settings (after the target, as NAME=value):
  CELEBA=, LFWA=, DATA=   the data set: its folder, or a CSV file (DATA)
  ATTRIBUTES=A,B          attributes (the paper's 20)
  LMDB=data/lmdb          folder of the databases
  RUN=build/run           folder of the run; it keeps its settings, so give them once
  BATCH=4                 images per attribute in a mini-batch
  IMAGES='a.jpg "b c/"'   photos, folders, videos
  ARGS="..."              any options of the command: make train ARGS="--width 1/4 --precision bfloat16";
                          .venv/bin/face-cascade COMMAND --help explains them
  CAFFE_ROOT=, CAFFE_DEBS=, CAFFE_ARCHIVE=   where `make caffe` takes BVLC Caffe from
  V=1                     show the commands              PYTHON=python3   the Python that makes .venv
`make doctor` prints what is installed and what is missing.
endef
export HELP

help: ## print this list
	@echo 'face-cascade: face attributes, and the region of the face that each is found in'
	@echo
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo "$$HELP"

.venv/ready: pyproject.toml engine/pyproject.toml
	$(Q)$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"error: Python 3.11 or newer is needed, and $(PYTHON) is {v[0]}.{v[1]}; give another one: make PYTHON=python3.12")'
	echo 'setting up .venv'
	$(PYTHON) -m venv .venv || { echo 'error: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv' >&2; exit 1; }
	$(PIP) -e .
	$(PIP) --no-deps -e ./engine
	pwd > $@

.venv/ready-engine: .venv/ready
	$(Q)$(PIP) -e '.[engine]'
	touch $@

.venv/ready-onnx: .venv/ready-engine
	$(Q)$(PIP) -e '.[onnx]'
	touch $@

.venv/ready-test: .venv/ready-onnx
	$(Q)$(PIP) -e '.[test]'
	touch $@

.venv/ready-page: .venv/ready-test
	$(Q)$(PIP) -e '.[page]'
	touch $@

.caffe/bin/caffe:
	$(Q)$(PYTHON) tools/install/install_caffe.py

caffe: ## install a real BVLC Caffe (CAFFE_ARCHIVE=, CAFFE_DEBS= or CAFFE_ROOT= to choose its source)
	$(Q)$(PYTHON) tools/install/install_caffe.py

model: .venv/ready-onnx ## a data set's model in one command: CELEBA=, LFWA= or DATA= [ATTRIBUTES=A,B] [RUN=build/model]
	$(Q)$(CASCADE) model $(data) $(call option,--attributes,ATTRIBUTES) $(run) $(ARGS)

lmdb: .venv/ready ## training data: CELEBA=, LFWA= or DATA=<folder or CSV> [ATTRIBUTES=A,B] [LMDB=data/lmdb]
	$(Q)$(CASCADE) data $(data) $(call option,--attributes,ATTRIBUTES) $(call option,--out,LMDB) $(ARGS)

check-data: .venv/ready ## verify that LMDB= holds what the paper asks for
	$(Q)$(CASCADE) check "$${ARG_LMDB:-data/lmdb}" $(ARGS)

models: .venv/ready ## rewrite models/ and solver/ for the data in LMDB=, or for ATTRIBUTES= [BATCH=4]
	$(Q)$(CASCADE) models $(call option,--attributes,ATTRIBUTES) $(call option,--batch,BATCH) $(call option,--lmdb,LMDB) $(ARGS)

train: .venv/ready ## all stages of RUN=: task one, average region, cascade
	$(Q)$(CASCADE) train $(run) $(call option,--batch,BATCH) $(call option,--lmdb,LMDB) $(ARGS)

average: .venv/ready ## after caffe train -solver solver/region.prototxt: build/average.caffemodel [RUN= for a run's]
	$(Q)$(CASCADE) average $(or $(run),--run=.) $(ARGS)

evaluate: .venv/ready ## accuracies and regions on the test split, of every stage of RUN= that is done
	$(Q)$(CASCADE) evaluate $(run) $(ARGS)

predict: .venv/ready ## attributes of the faces in your photos: IMAGES="file or folder ..."
	$(Q)xargs -a <(printf '%s' "$$ARG_IMAGES") $(CASCADE) predict $(run) $(ARGS)

report: .venv/ready ## report.html in RUN=: numbers, curves, regions, examples, model card
	$(Q)$(CASCADE) report $(run) $(ARGS)

onnx: .venv/ready-onnx ## the cascade of RUN= as an ONNX file, to run without Caffe
	$(Q)$(CASCADE) export $(run) $(ARGS)

page: .venv/ready-onnx ## a web page that runs the cascade of RUN= in the browser: the folder build/page
	$(Q)$(CASCADE) export $(run) --page build/page $(ARGS)

ablation: .venv/ready ## the paper's variants under one budget, over seeds: ARGS="--seeds 1,2"
	$(Q)$(CASCADE) ablation $(run) $(call option,--batch,BATCH) $(call option,--lmdb,LMDB) $(ARGS)

demo: .venv/ready ## every step on synthetic faces, in minutes
	$(Q)$(CASCADE) demo $(run) $(ARGS)

doctor: .venv/ready ## print what is installed, what is missing, and how to install it
	$(Q)$(CASCADE) doctor

# Tests run side by side, one on each core.
test test-all: export OMP_NUM_THREADS = 1
pytest = $(BIN)/python -m pytest -n auto --dist worksteal
test: .venv/ready-test .caffe/bin/caffe lint ## all essential tests, on the engine and on BVLC Caffe
	$(Q)$(pytest)
	$(pytest) -c tests/on_caffe/pytest.ini tests/on_caffe
	# BVLC Caffe's Python has no plugin for this: a file at a time.
	printf '%s\0' tests/on_caffe/test_*.py | xargs -0 -n 1 -P "$$(nproc)" .caffe/bin/python -m pytest -c tests/on_caffe/pytest.ini

test-all: .venv/ready-page .caffe/bin/caffe ## the long tests that `make test` leaves out: full size, kills, the page in Chromium
	$(Q)$(pytest) -m slow
	$(BIN)/python -m pytest -m slow -rs tests/page

bench: .venv/ready-test .caffe/bin/caffe ## speed and memory of both Caffes and of plain PyTorch: ARGS="--nets region"
	$(Q)$(BIN)/python -m benchmarks.engine $(ARGS)

lint: .venv/ready-test ## check the code's style
	$(Q)$(BIN)/ruff check .
	$(BIN)/ruff format --check .

proto: .venv/ready-test ## rewrite engine/caffe/proto/caffe_pb2.py from caffe.proto
	$(Q)$(BIN)/python -m grpc_tools.protoc -Iengine --python_out=engine engine/caffe/proto/caffe.proto

clean: ## remove the environments and caches; trained weights, data and results in build/ and data/ are kept
	$(Q)rm -rf .venv .caffe .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	echo 'removed .venv and .caffe; build/ and data/ are kept'
