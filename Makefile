# make install   .venv with the package and its development tools; nothing to do if up to date
# make demo      the whole road on drawn images, from image-level labels to a segmentation network
# make demo-defects   the same for defects of a few pixels, up to their masks
# make quick     the tests but the slow ones: two minutes, for while you work
# make test      all tests, in two processes (WORKERS=4 make test: in four)
# make benchmarks   all benchmarks, their numbers into benchmarks/results/*.json
# make docs      this documentation, strictly, into site/: open site/index.html
# make check     what .ci/run checks: lint, types, tests, the documentation, the wheel

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# By default glibc gives large tensors back to the system after every layer: time in the kernel.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
# Threads that wait for each other sleep after 20,000 turns; by default they keep a core busy for
# 300,000 that another process could use.
export GOMP_SPINCOUNT ?= 20000

# A file's tests stay in one process, which makes its fixtures once; longest files first.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: install demo demo-defects quick test lint docs wheel check benchmarks clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	# Label Studio's own code for brushes, and Ultralytics' for polygons, for tests/export and
	# tests/pipeline/importing; of all they ask for, other OpenCVs among them, these need nothing
	# that is not there
	$(BIN)/python -m pip install --quiet --no-deps 'label-studio-sdk>=2.1' 'ultralytics>=8.4'
	touch $@

demo: install
	$(BIN)/python data/shapes/prepare.py
	$(BIN)/wsss run --config configs/shapes/run.yaml
	$(BIN)/python tools/summarise_demo.py

demo-defects: install
	$(BIN)/python data/defects/prepare.py
	$(BIN)/wsss run --config configs/defects/run.yaml
	$(BIN)/python tools/summarise_defects.py

# Each process of the tests has a core: two threads of it would wait for each other.
quick test: export OMP_NUM_THREADS ?= 1

quick: install
	$(PYTEST) -m 'not slow'

test: install
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without the variable, the theme prints a notice about MkDocs 2. With --quiet, warnings would not
# be counted, and --strict would mean nothing.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/tools/check.py site

check: lint test docs wheel

wheel: install
	rm -rf build dist
	$(BIN)/python -m build --quiet
	$(BIN)/python tests/check_wheel.py dist/*.whl

benchmarks: install
	$(BIN)/python benchmarks/all.py --folder benchmarks/results

clean:
	rm -rf $(VENV) build dist site runs *.egg-info
