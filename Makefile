# Everything runs in .venv, which is set up once and again whenever pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed
# The JupyterLab extension is built, and installed, again when its sources change.
EXTENSION := $(VENV)/.extension
EXTENSION_SOURCES := $(wildcard widgets/*.json widgets/*.py widgets/*.lock $(foreach folder,src style schema,widgets/$(folder)/* widgets/$(folder)/*/* widgets/$(folder)/*/*/*))

# Tests run on all cores, at most four at a time (a gigabyte each), and those of a file in one process, which takes files
# in the order tests/conftest.py gives them. A second run has one process, for the tests that nothing may disturb. Ctrl-C
# (status 2) ends both.
ALONE := alone
define pytest
$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not $(ALONE)$(1)"; status=$$?; \
	[ $$status -ne 2 ] || exit 2; \
	$(BIN)/python -m pytest -m "$(ALONE)$(1)" && exit $$status
endef

.PHONY: help demo lab docs test test-quick test-widgets proof lint lint-python lint-widgets bench bench-serve-long bench-sweep bench-watch readme-tables clean

help:
	@echo "make demo           run the whole workflow on a small model: sweep, choose, export, serve (a few minutes)"
	@echo "make lab            open JupyterLab on the Workbench notebook"
	@echo "make test           lint, types, layers and all tests, notebooks and browser included, in Python and TypeScript"
	@echo "make docs           build the documentation site in docs/_build/html; executes notebooks that have changed"
	@echo "make test-quick     the Python tests that need neither a browser nor notebooks, without long ones (a third of the time)"
	@echo "make proof          slow proofs against foreign engines and clients (installs several GB), before a release; renews their table; TF_SERVING=CHECKOUT adds TensorFlow Serving's own tests"
	@echo "make lint           lint, types and layers only"
	@echo "make bench          start-up times, planning, the server beside FastAPI, MLServer and Triton (850 MB), the Workbench in a browser (use a quiet machine)"
	@echo "make bench-serve-long  a thousand changes of a model under load, and ten minutes of trouble (about half an hour)"
	@echo "make bench-watch    drift, alarms, the gate, trials, a loop that is killed, encryption, watermarks: each figure beside its target"
	@echo "make bench-sweep    sweeps beside a plain script and Olive (whose environment takes 2 GB), and their overhead"
	@echo "make readme-tables  rewrite the README's tables from the adapters"
	@echo "make clean          remove .venv*, caches and built wheels; results in runs/ stay"
	@echo "To use another interpreter: make demo PYTHON=python3.12"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; found = sys.version_info[:2]; sys.exit(0 if (3, 11) <= found < (3, 14) else "deploykit needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Choose one: make PYTHON=python3.12" % found)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Cannot create $(VENV): on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@echo "Installing deploykit[all] into $(VENV): about 3 GB, only the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]' --group dev
	@touch $(STAMP) $(EXTENSION)

$(EXTENSION): $(STAMP) $(EXTENSION_SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(EXTENSION)

demo: $(STAMP)
	$(BIN)/deploykit demo

lab: $(EXTENSION)
	$(BIN)/deploykit lab --folder runs/lab

docs: $(EXTENSION)
	$(BIN)/python -m docs.tools.site

# Python and TypeScript are checked side by side: neither uses more than one core most of the time.
lint: $(EXTENSION)
	$(MAKE) --no-print-directory -j2 lint-python lint-widgets

lint-python: $(EXTENSION)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-widgets: $(EXTENSION)
	$(BIN)/python widgets/hatch_build.py check

test-widgets: lint-widgets
	$(BIN)/python widgets/hatch_build.py test

# The notebooks' tests execute them; what they leave in docs/tutorials is what the site's tests build it from.
test: $(EXTENSION)
	$(MAKE) --no-print-directory -j2 lint-python test-widgets
	$(call pytest)

# On another interpreter than the one all tests run on: what differs between Pythons shows here.
test-quick: $(EXTENSION)
	$(call pytest, and not (browser or notebook or long))

# Slow, and against engines and clients of others, which are installed into .venv-proof. Writes tests/proof/results.json.
proof: $(EXTENSION)
	$(BIN)/python -m pytest tests/proof --timeout 1800

bench: $(EXTENSION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python tests/bench/startup.py
	$(BIN)/python tests/bench/serve.py
	$(BIN)/python tests/bench/serve_grpc.py
	$(BIN)/python tests/bench/capacity.py
	$(BIN)/python tests/bench/plan.py
	$(BIN)/python tests/bench/workbench.py

bench-serve-long: $(STAMP)
	$(BIN)/python tests/bench/swaps.py
	$(BIN)/python tests/bench/soak.py

# All parts, whatever comes of the others.
bench-watch: $(EXTENSION)
	@status=0; for part in watching drift gate protect; do $(BIN)/python tests/bench/$$part.py || status=1; done; exit $$status

bench-sweep: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python tests/bench/quantize.py
	$(BIN)/python tests/bench/smaller.py
	$(BIN)/python tests/bench/fewer_bits.py
	$(BIN)/python tests/bench/latency.py
	$(BIN)/python tests/bench/engine.py
	$(BIN)/python tests/bench/expected.py
	$(BIN)/python tests/bench/cluster.py

readme-tables: $(STAMP)
	$(BIN)/python tests/readme_tables.py

clean:
	rm -rf $(VENV) .venv-newest .venv-proof dist widgets/node_modules widgets/lib widgets/labextension* docs/_build docs/reference/generated docs/tutorials/*.ipynb .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
