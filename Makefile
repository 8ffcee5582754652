# make demo     install into .venv (first time only), then draw street scenes, train on them and evaluate, in runs/demo
# make test     install the development tools too, then run all tests; ends with pytest's summary
# make lint     check the code with ruff and mypy
# make test-quick   run the tests that are not marked slow, on TensorFlow: a few minutes
# make test-lowest  run the quick tests with the lowest versions that setup.py allows, in .venv-lowest
# make weights  train weights/streets_resnet18.h5 again, the small weights that come with the source tree
# make notebooks  run the notebooks in full and keep what they show (about ten minutes)
# make clean    remove the environments, build products and caches; your runs stay
#
# Python 3.11, 3.12 or 3.13 is needed; PYTHON=/path/to/python3.12 chooses one. VENV=.venv-3.12 chooses another folder
# than .venv for the environment. constraints.txt has the versions that are installed.

SHELL := /bin/bash
VENV := .venv
PYTHONS := python3 python3.13 python3.12 python3.11
BIN := $(VENV)/bin
CREATED := $(VENV)/.created
RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
LOWEST := $(VENV)/.installed-lowest

.PHONY: demo test test-quick test-lowest .test-lowest lint weights notebooks clean
.DELETE_ON_ERROR:

demo: $(RUNTIME)
	$(BIN)/python scripts/demo.py

# Two processes, each with whole files, so that what the tests of a file share is made once: much of a test is the
# backend's start and its tracing, which take one core.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
test: $(DEVELOPMENT)
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=jax $(PYTEST) -m graph

test-quick: $(DEVELOPMENT)
	KERAS_BACKEND=tensorflow $(PYTEST) -m "not slow"

# TensorFlow's lowest version has no build for Python 3.13.
test-lowest:
	$(MAKE) VENV=.venv-lowest PYTHONS="python3.11 python3.12 python3" .test-lowest

.test-lowest: $(LOWEST)
	KERAS_BACKEND=tensorflow $(PYTEST) -m "not slow"

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# About an hour on two cores. From random weights BatchNorm must train, or nothing normalises the features; once its
# statistics hold, it is frozen, as it is wherever the file is used.
PRETRAIN := $(BIN)/python scripts/train.py --data runs/pretrain --config streets --logs runs/pretrain/logs --stage all \
	--set STEPS_PER_EPOCH=200 --set VALIDATION_STEPS=12
weights: $(RUNTIME)
	$(BIN)/python scripts/streets.py --out runs/pretrain --train 1600 --val 24 --seed 1
	$(PRETRAIN) --weights none --epochs 6 --learning-rate 0.02 --set OPTIMIZER=sgd --set TRAIN_BN=None
	$(PRETRAIN) --weights last --epochs 12 --learning-rate 0.01 --set OPTIMIZER=sgd
	$(PRETRAIN) --weights last --epochs 8 --learning-rate 0.0005
	$(PRETRAIN) --weights last --epochs 7 --learning-rate 0.0001
	$(PRETRAIN) --weights last --epochs 2 --learning-rate 0.00003 --save weights/streets_resnet18.h5

notebooks: $(DEVELOPMENT)
	$(BIN)/python -m tests.notebooks.run

clean:
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A Python of the right version, looked for once. Where an earlier try was cut off, venv goes on in the same folder.
$(CREATED):
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	        "$$python" -m venv $(VENV) && touch $@ && exit 0; \
	        echo "error: $$python -m venv $(VENV) failed; on Debian and Ubuntu install the package python3-venv" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "error: Python 3.11, 3.12 or 3.13 is needed; $(or $(PYTHON),python3) says: $$($(or $(PYTHON),python3) --version 2>&1)." \
	     "Install one of them, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1

PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check
$(RUNTIME): setup.py constraints.txt $(CREATED)
	$(PIP_INSTALL) -c constraints.txt -e .
	@touch $@

$(DEVELOPMENT): setup.py constraints.txt $(CREATED)
	$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $(RUNTIME) $@

# The bounds of the packages and of the test tools in setup.py, one to a line there, each as the version itself.
$(VENV)/lowest.txt: setup.py
	@mkdir -p $(VENV)
	sed -En 's/^ +"([A-Za-z0-9_-]+)>=([0-9.]+)",.*/\1==\2/p' setup.py > $@

$(LOWEST): $(VENV)/lowest.txt $(CREATED)
	$(PIP_INSTALL) -c $(VENV)/lowest.txt -e '.[dev]'
	@touch $@
