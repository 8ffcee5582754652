# make demo     install into .venv (first time only), then draw street scenes, train on them and evaluate, in runs/demo
# make test     install the development tools too, then lint, types and all tests; ends with pytest's summary
# make lint     ruff and mypy alone
# make weights  train weights/streets_resnet18.h5 again, the small weights that come with the source tree
# make clean    remove .venv, build products and caches; your runs stay
#
# Python 3.11, 3.12 or 3.13 is needed; PYTHON=/path/to/python3.12 chooses one.

SHELL := /bin/bash
BIN := .venv/bin
RUNTIME := .venv/.installed
DEVELOPMENT := .venv/.installed-dev

.PHONY: demo test lint weights clean
.DELETE_ON_ERROR:

demo: $(RUNTIME)
	$(BIN)/python scripts/demo.py

test: lint
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m graph

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/mypy

weights: $(RUNTIME)
	$(BIN)/python scripts/train.py --stage all --weights none

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A Python of the right version, looked for once. Where an earlier try was cut off, venv goes on in the same folder.
.venv/.created:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	        "$$python" -m venv .venv && touch $@ && exit 0; \
	        echo "error: $$python -m venv .venv failed; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; \
	    fi; \
	done; \
	echo "error: Python 3.11, 3.12 or 3.13 is needed; $(or $(PYTHON),python3) says: $$($(or $(PYTHON),python3) --version 2>&1)." \
	     "Install one of them, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1

$(RUNTIME): setup.py .venv/.created
	$(BIN)/pip install --disable-pip-version-check -e .
	@touch $@

$(DEVELOPMENT): setup.py .venv/.created
	$(BIN)/pip install --disable-pip-version-check -e '.[dev]'
	@touch $(RUNTIME) $@
