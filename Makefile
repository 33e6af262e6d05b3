# Everything a newcomer needs: `make demo` and `make test`. Needs Python 3.11 and the package registries.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo story chaos test check install clean

help:
	@echo "make demo       train four synthetic hospitals together, rank under encryption, write runs/demo/report.html"
	@echo "make story      play a consortium's story by its people's commands, write runs/story/story.md;"
	@echo "                SCENARIO=FILE and SET='key=value ...' take other patients or another network"
	@echo "make chaos      hurt a consortium of real processes, twenty seeds, and measure what becomes of its runs"
	@echo "make test       the whole test suite"
	@echo "make check      format, lint, types, import rules"
	@echo "make install    only the virtual environment in $(VENV)"
	@echo "make clean      remove $(VENV) and caches; runs/ stays"

demo: $(READY)
	$(BIN)/phenofed demo

STORY := runs/story
SCENARIO ?= demo

story: $(READY)
	rm -rf $(STORY)
	$(BIN)/phenofed poc story $(STORY) $(SCENARIO) $(foreach one,$(SET),--set $(one))

# What is done already in runs/chaos is not done again.
chaos: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/phenofed poc chaos --out runs/chaos --seeds 20 --document docs/reliability.md

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_import_rules.py

install: $(READY)

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "phenofed needs Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
