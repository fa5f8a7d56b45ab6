# face-cascade: every step from faces to predictions. `make help` lists them.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
# Which Caffe: bvlc (CPU), torch (engine/caffe; CPU or GPU), or auto: bvlc, unless TRAIN asks for a GPU or it cannot be.
CAFFE ?= auto

# What the steps work on; give them on the command line.
CELEBA ?=
LFWA ?=
ATTRIBUTES ?=
LMDB ?= data/lmdb
RUN ?= build/run
RECORDS ?= 10000
AUGMENT ?= both
# Of the training data: stream (written down, for Caffe's own Data layer) or compact (each face once, cut on the fly).
FORM ?= stream
BATCH ?= 4
# Changes to the files in solver/ for all stages or one: SOLVER=region.max_iter=500,cascade.max_iter=300
SOLVER ?=
RECTANGLES ?= measured
IMAGES ?=
# For evaluate: [NAME=]FILE of several weights to compare; by default the newest of every stage there is.
WEIGHTS ?=
# More for tools: BUILD=--dry-run, CHECK=--no-source, GENERATE=--l1=linear, AVERAGE="--density 1.5", TRAIN="-gpu 0"
BUILD ?=
CHECK ?=
GENERATE ?=
AVERAGE ?=
TRAIN ?=
PREDICT ?=
ABLATION ?=
BENCH ?=

# `make demo report` is about the demo's run.
DEMO := build/demo
ifneq ($(filter demo,$(MAKECMDGOALS)),)
RUN := $(DEMO)
endif

# At the head of a recipe: the chosen Caffe's programs as $$caffe and $$python.
choose = chosen=$$($(PYTHON) tools/install/engines.py $(CAFFE) $(TRAIN)); eval "$$chosen"

# Newest snapshot of a stage.
newest = $$(ls -t $(RUN)/$(1)/$(1)_iter_*.caffemodel 2>/dev/null | head -n 1 | grep . || \
  { echo "error: no weights in $(RUN)/$(1); train first: make train" >&2; exit 1; })

# Behind caffe train: its log into a stage's folder, after what is there where a training goes on, and progress. Ctrl-C
# goes to all of a pipe; tee and progress wait for the Caffe, which ends with a snapshot.
resumes = $(findstring -snapshot,$(TRAIN))
watch = 2>&1 | tee -i $(if $(resumes),-a) $(RUN)/$(1)/train.log | $(PYTHON) tools/train/progress.py

.PHONY: help caffe lmdb check-data models nets train train-region average train-cascade train-whole-face evaluate predict \
  report onnx ablation demo test bench bench-gpu lint proto clean

help: ## this list
	@echo 'face-cascade: face attributes, and the region of the face each is found in'
	@echo
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 25
	@echo
	@echo 'Real faces, from a CelebA download to predictions:'
	@echo '  make lmdb CELEBA=/path/to/CelebA ATTRIBUTES=Eyeglasses,Smiling,Male'
	@echo '  make train && make evaluate && make predict IMAGES=/path/to/faces'
	@echo 'Settings: LMDB=$(LMDB) RUN=$(RUN) BATCH=$(BATCH) FORM=$(FORM) RECORDS=$(RECORDS) AUGMENT=$(AUGMENT)'
	@echo '  CAFFE=auto|bvlc|torch RECTANGLES=measured|theoretical SOLVER=max_iter=500 TRAIN="-gpu 0"'

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -e .
	.venv/bin/pip install -q --disable-pip-version-check --no-deps -e ./engine
	touch $@

.venv/ready-engine: .venv/ready
	.venv/bin/pip install -q --disable-pip-version-check -e '.[engine]'
	touch $@

.venv/ready-onnx: .venv/ready
	.venv/bin/pip install -q --disable-pip-version-check -e '.[onnx]'
	touch $@ .venv/ready-engine

.venv/ready-test: .venv/ready
	.venv/bin/pip install -q --disable-pip-version-check -e '.[test]'
	touch $@ .venv/ready-engine .venv/ready-onnx

caffe: ## install a real BVLC Caffe (CAFFE_ARCHIVE=, CAFFE_DEBS= or CAFFE_ROOT= to choose its source)
	@$(PYTHON) tools/install/install_caffe.py \
	  $(if $(CAFFE_ARCHIVE),--archive "$(CAFFE_ARCHIVE)") $(if $(CAFFE_DEBS),--debs "$(CAFFE_DEBS)") \
	  $(if $(CAFFE_ROOT),--caffe-root "$(CAFFE_ROOT)")

.caffe/bin/caffe:
	@$(MAKE) --no-print-directory caffe

lmdb: .venv/ready ## balanced, augmented training data: CELEBA= or LFWA=<folder> [ATTRIBUTES=A,B] [FORM=compact]
	@[ -n "$(CELEBA)$(LFWA)" ] || { echo 'error: give the data set: make lmdb CELEBA=/path/to/CelebA' >&2; exit 2; }
	@[ -z "$(CELEBA)" ] || [ -z "$(LFWA)" ] || { echo 'error: give CELEBA or LFWA, not both' >&2; exit 2; }
	$(VENV_PYTHON) -m data_prep.build.build_lmdb "$(CELEBA)$(LFWA)" --out "$(LMDB)" --form $(FORM) --records $(RECORDS) \
	  --augment $(AUGMENT) $(if $(ATTRIBUTES),--attributes $(ATTRIBUTES)) $(BUILD)

check-data: .venv/ready ## prove that LMDB= holds what the paper asks for; contact sheets in $(RUN)/check
	$(VENV_PYTHON) -m data_prep.check.check_data "$(LMDB)" --out "$(RUN)/check" $(CHECK)

models: .venv/ready ## rewrite the committed prototxts in models/
	$(VENV_PYTHON) -m models.generate

nets: .venv/ready
	@[ -e "$(LMDB)/manifest.json" ] || { echo 'error: no LMDBs in $(LMDB); make lmdb CELEBA=... first' >&2; exit 2; }
	$(VENV_PYTHON) -m models.generate --lmdb $(LMDB) --batch $(BATCH) --out $(RUN) --solver "$(SOLVER)" $(GENERATE)

train: train-region average train-cascade ## both stages: task one, average region, cascade

train-region: nets ## stage 1: task one alone
	@$(choose)
	$$caffe train -solver $(RUN)/region/solver.prototxt $(TRAIN) $(call watch,region)

average: .venv/ready ## average region into the weights (RECTANGLES=measured or theoretical)
	@$(choose)
	$$python -m tools.train.average_region --model $(RUN)/region/train_val.prototxt \
	  --weights "$(call newest,region)" --out $(RUN)/$(RECTANGLES).caffemodel --rectangles $(RECTANGLES) $(AVERAGE)

train-cascade: nets ## stage 2: both tasks, from the weights of `make average`
	@$(choose)
	$$caffe train -solver $(RUN)/cascade/solver.prototxt \
	  $(if $(resumes),,-weights $(RUN)/$(RECTANGLES).caffemodel) $(TRAIN) $(call watch,cascade)

train-whole-face: nets ## ablation: task two on the whole face
	@$(choose)
	$$caffe train -solver $(RUN)/whole_face/solver.prototxt $(TRAIN) $(call watch,whole_face)

evaluate: .venv/ready ## accuracies and regions on the test split, of every stage trained so far
	@weights="$(WEIGHTS)"
	for stage in $(if $(WEIGHTS),,region cascade whole_face); do
	  newest=$$(ls -t $(RUN)/$$stage/$${stage}_iter_*.caffemodel 2>/dev/null | head -n 1 || true)
	  [ -z "$$newest" ] || weights="$$weights $$stage=$$newest"
	done
	[ -n "$$weights" ] || { echo 'error: no weights in $(RUN); train first: make train' >&2; exit 1; }
	$(choose)
	$$python -m tools.evaluate.evaluate $$weights --models $(RUN) --lmdb $(LMDB) --out $(RUN)/evaluation

predict: .venv/ready ## attributes of the faces in your photos: IMAGES="file or folder ..." [PREDICT=--aligned]
	@[ -n "$(IMAGES)" ] || { echo 'error: give photos: make predict IMAGES="photo.jpg folder"' >&2; exit 2; }
	$(choose)
	$$python -m tools.predict.predictor --models $(RUN) --weights "$(call newest,cascade)" \
	  --lmdb $(LMDB) --out $(RUN)/predictions $(PREDICT) $(IMAGES)

report: .venv/ready-engine ## report.html in $(RUN), from make evaluate: numbers, curves, regions, examples, model card
	$(VENV_PYTHON) -m tools.report.report --evaluation $(RUN)/evaluation --run $(RUN) --out $(RUN)/report.html

onnx: .venv/ready-onnx ## the cascade as $(RUN)/cascade.onnx, to run without Caffe
	$(VENV_PYTHON) -m tools.export.export_onnx --models $(RUN) --weights "$(call newest,cascade)" --out $(RUN)/cascade.onnx

ablation: .venv/ready ## variants compared under one budget, seed by seed, in $(RUN)/ablation: ABLATION="--seeds 1,2"
	$(VENV_PYTHON) -m tools.evaluate.ablation --lmdb $(LMDB) --out $(RUN)/ablation --batch $(BATCH) --caffe $(CAFFE) \
	  --train "$(TRAIN)" $(ABLATION)

DEMO_ATTRIBUTES := Eyeglasses,Wearing_Hat,Mustache
DEMO_SOLVER := region.max_iter=280,region.stepsize=225,cascade.max_iter=130,cascade.stepsize=105,display=10,snapshot=0,test_interval=1000
demo_make = $(MAKE) --no-print-directory LMDB=$(DEMO)/lmdb RUN=$(DEMO) CELEBA=$(DEMO)/faces RECORDS=1000 \
  ATTRIBUTES=$(DEMO_ATTRIBUTES) CAFFE=$$([ $$caffe = .venv/bin/caffe ] && echo torch || echo bvlc)

demo: .venv/ready ## everything on synthetic faces, within minutes
	$(choose)
	rm -rf $(DEMO)
	mkdir -p $(DEMO)
	$(VENV_PYTHON) -m data_prep.synthetic.synthetic_faces $(DEMO)/faces --images 2000 --seed 1 \
	  --prevalence Eyeglasses=0.3,Wearing_Hat=0.3,Mustache=0.3
	$(demo_make) lmdb
	$(demo_make) train-region SOLVER=$(DEMO_SOLVER)
	for rectangles in theoretical measured; do $(demo_make) average RECTANGLES=$$rectangles; done
	$(demo_make) train-cascade SOLVER=$(DEMO_SOLVER)
	$(demo_make) evaluate WEIGHTS="theoretical=$(DEMO)/theoretical.caffemodel \
	  measured=$(DEMO)/measured.caffemodel cascade=$$(ls $(DEMO)/cascade/*.caffemodel)"
	$(demo_make) predict PREDICT=--aligned IMAGES="$$(ls $(DEMO)/faces/img_align_celeba/*.jpg | tail -n 8 | tr '\n' ' ')"
	echo 'Pictures: $(DEMO)/evaluation/regions.png and $(DEMO)/predictions/*.png'

test: .venv/ready-test .caffe/bin/caffe lint ## all tests
	$(VENV_PYTHON) -m pytest
	$(VENV_PYTHON) -m pytest -q -c tests/on_caffe/pytest.ini tests/on_caffe
	.caffe/bin/python -m pytest -q -c tests/on_caffe/pytest.ini tests/on_caffe

bench: .venv/ready-test .caffe/bin/caffe ## speed and memory of both engines and of a loop written by hand: BENCH="--quick"
	$(VENV_PYTHON) -m benchmarks.engine $(BENCH)

bench-gpu: .venv/ready-engine ## training speed on a GPU: the engine and loops written by hand
	$(VENV_PYTHON) -m benchmarks.engine.gpu $(BENCH)

lint: .venv/ready-test ## style
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

proto: .venv/ready-test ## rewrite engine/caffe/proto/caffe_pb2.py from caffe.proto
	$(VENV_PYTHON) -m grpc_tools.protoc -Iengine --python_out=engine engine/caffe/proto/caffe.proto

clean: ## remove environments and everything generated (not data/)
	rm -rf .venv .caffe build
