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
CASCADE := FACE_CASCADE_FROM_MAKE=1 $(BIN)/face-cascade
PIP := $(BIN)/pip install -q --disable-pip-version-check

# What can be set on the command line. The values reach face-cascade through the environment, unexpanded: no shell and
# no further expansion by make ever sees them.
SETTINGS := DATA CELEBA LFWA ATTRIBUTES LMDB FORM RECORDS AUGMENT BUILD CHECK RUN BATCH SOLVER RECTANGLES SEED GENERATE \
  TRAIN CAFFE DEVICE PRECISION THREADS RESTART START_FROM AVERAGE EVALUATE WEIGHTS IMAGES PREDICT REPORT EXPORT ABLATION BENCH N \
  CAFFE_ARCHIVE CAFFE_DEBS CAFFE_ROOT
define pass
export FACE_CASCADE_MAKE_$(1) := $$(value $(1))
unexport $(1)
endef
$(foreach setting,$(SETTINGS),$(eval $(call pass,$(setting))))

.PHONY: help caffe lmdb check-data models train train-region average train-cascade train-whole-face evaluate predict \
  report onnx page ablation demo doctor test test-page bench bench-gpu fuzz lint proto clean

define HELP

Real faces, from a CelebA download to predictions:
  make lmdb CELEBA=/path/to/CelebA ATTRIBUTES=Eyeglasses,Smiling,Male
  make train && make evaluate && make predict IMAGES=/path/to/photos

Settings (after the target, as NAME=value; a run keeps its own, so give them once):
  LMDB=data/lmdb          folder of the databases        RUN=build/run    folder of the run and its record
  DATA=, CELEBA=, LFWA=   folder of the data set, or a CSV file (DATA)
  ATTRIBUTES=A,B          attributes (the paper's 20)    FORM=compact     or stream, for Caffe's own Data layer
  RECORDS=10000           stream: images per class       AUGMENT=both     or minority (the paper), none
  BATCH=4                 images per attribute           SEED=1           of the first weights
  SOLVER=region.max_iter=500,base_lr=0.005               changes to the solvers
  RECTANGLES=measured     or theoretical (the paper)     RESTART=1        repeat the stages
  CAFFE=auto              or bvlc, torch                 DEVICE=cpu       or cuda, cuda:N, cuda:0,1
  PRECISION=float32       or tf32, bfloat16              THREADS=         CPU threads, one per core
  START_FROM=FILE         first weights, of other data
  IMAGES='a.jpg "b c/"'   photos, folders, videos        WEIGHTS=NAME=FILE  others to evaluate
  BUILD= CHECK= GENERATE= TRAIN= AVERAGE= EVALUATE= PREDICT= REPORT= EXPORT= ABLATION= BENCH=
                          further options of lmdb, check-data, the networks, caffe train, and so on
  CAFFE_ROOT= CAFFE_DEBS= CAFFE_ARCHIVE=                 where `make caffe` takes BVLC Caffe from
  V=1                     show the commands              PYTHON=python3   the Python that makes .venv
`make doctor` prints what is installed and what is missing; .venv/bin/face-cascade COMMAND --help explains all options.
endef
export HELP

help: ## print this list
	@echo 'face-cascade: face attributes, and the region of the face that each is found in'
	@echo
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 25
	@echo "$$HELP"

.venv/ready: pyproject.toml engine/pyproject.toml
	$(Q)$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"error: Python 3.11 or newer is needed, and $(PYTHON) is {v[0]}.{v[1]}; give another one: make PYTHON=python3.12")'
	echo 'setting up .venv'
	$(PYTHON) -m venv .venv || { echo 'error: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv' >&2; exit 1; }
	$(PIP) -e .
	$(PIP) --no-deps -e ./engine
	touch $@

.venv/ready-engine: .venv/ready
	$(Q)$(PIP) -e '.[engine]'
	touch $@

.venv/ready-onnx: .venv/ready-engine
	$(Q)$(PIP) -e '.[onnx]'
	touch $@

.venv/ready-test: .venv/ready-onnx
	$(Q)$(PIP) -e '.[test]'
	touch $@

.caffe/bin/caffe:
	$(Q)$(PYTHON) tools/install/install_caffe.py

caffe: ## install a real BVLC Caffe (CAFFE_ARCHIVE=, CAFFE_DEBS= or CAFFE_ROOT= to choose its source)
	$(Q)$(PYTHON) tools/install/install_caffe.py

lmdb: .venv/ready ## balanced, augmented training data: CELEBA=, LFWA= or DATA=<folder or CSV> [ATTRIBUTES=A,B]
	$(Q)$(CASCADE) data

check-data: .venv/ready ## verify that LMDB= holds what the paper asks for
	$(Q)$(CASCADE) check

models: .venv/ready ## rewrite the committed prototxts in models/
	$(Q)$(BIN)/python -m models.generate

train: .venv/ready ## all stages of RUN=: task one, average region, cascade
	$(Q)$(CASCADE) train

train-region: .venv/ready ## stage 1: task one alone
	$(Q)$(CASCADE) train region

average: .venv/ready ## stage 2: average region into the weights (RECTANGLES=measured or theoretical)
	$(Q)$(CASCADE) average

train-cascade: .venv/ready ## stage 3: both tasks, from the weights of `make average`
	$(Q)$(CASCADE) train cascade

train-whole-face: .venv/ready ## ablation: task two on the whole face
	$(Q)$(CASCADE) train whole_face

evaluate: .venv/ready ## accuracies and regions on the test split, of every stage of RUN= that is done
	$(Q)$(CASCADE) evaluate

predict: .venv/ready ## attributes of the faces in your photos: IMAGES="file or folder ..." [PREDICT=--aligned]
	$(Q)$(CASCADE) predict

report: .venv/ready ## report.html in RUN=, from make evaluate: numbers, curves, regions, examples, model card
	$(Q)$(CASCADE) report

onnx: .venv/ready-onnx ## the cascade of RUN= as an ONNX file, to run without Caffe
	$(Q)$(CASCADE) export

page: .venv/ready-onnx ## a web page that runs the cascade of RUN= in the browser: the folder build/page
	$(Q)$(CASCADE) export --page build/page

ablation: .venv/ready ## the paper's variants under one budget, over seeds: ABLATION="--seeds 1,2"
	$(Q)$(CASCADE) ablation

demo: .venv/ready ## every step on synthetic faces, in minutes
	$(Q)$(CASCADE) demo

doctor: .venv/ready ## print what is installed, what is missing, and how to install it
	$(Q)$(CASCADE) doctor

test: .venv/ready-test .caffe/bin/caffe lint ## run all tests
	$(Q)$(BIN)/python -m pytest
	$(BIN)/python -m pytest -q -c tests/on_caffe/pytest.ini tests/on_caffe
	.caffe/bin/python -m pytest -q -c tests/on_caffe/pytest.ini tests/on_caffe

test-page: .venv/ready-test ## the page in headless Chromium, which must be installed: apt install chromium
	$(Q)$(PIP) -e '.[page]'
	$(BIN)/python -m pytest -q -c tests/page/pytest.ini tests/page

bench: .venv/ready-test .caffe/bin/caffe ## speed and memory of both engines and of plain PyTorch: BENCH="--nets region"
	$(Q)printf '%s' "$$FACE_CASCADE_MAKE_BENCH" | xargs $(BIN)/python -m benchmarks.engine

bench-gpu: .venv/ready-engine ## training speed on a GPU: the engine and plain PyTorch
	$(Q)printf '%s' "$$FACE_CASCADE_MAKE_BENCH" | xargs $(BIN)/python -m benchmarks.engine.gpu

fuzz: .venv/ready-test ## damage every kind of file that is read, N=5000 times, and look for crashes, hangs and tracebacks
	$(Q)$(BIN)/python tests/robustness/fuzz.py --mutations "$${FACE_CASCADE_MAKE_N:-5000}"

lint: .venv/ready-test ## check the code's style
	$(Q)$(BIN)/ruff check .
	$(BIN)/ruff format --check .

proto: .venv/ready-test ## rewrite engine/caffe/proto/caffe_pb2.py from caffe.proto
	$(Q)$(BIN)/python -m grpc_tools.protoc -Iengine --python_out=engine engine/caffe/proto/caffe.proto

clean: ## remove the environments and caches; trained weights, data and results in build/ and data/ are kept
	$(Q)rm -rf .venv .caffe .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	echo 'removed .venv and .caffe; build/ and data/ are kept'
