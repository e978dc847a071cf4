# The commands of this project; each sets up what it needs.
#
#   make train   a short real training of Rainbow with NaP on an Atari game (~10 minutes, two idle cores)
#   make test    lint, types and all tests
#   make test-quick   lint, types and the tests that are quick (~3 minutes, two idle cores)
#   make plasticity   what Rainbow, LayerNorm and NaP lose in a stream, beside new agents (~20 minutes, two cores)
#   make bench   speed, side by side with a public Rainbow (installed into an environment of its own)
#   make bench-gpu   the same on a GPU, without the public Rainbow
#   make lint    formatting, lint and types only
#   make replay-env   the replay server's environment, with which its tests run too
#   make docs    the documentation, in build/site/index.html
#   make doctor  what this machine can do, what is missing, and how long a run takes

# The first interpreter that is new enough; or say PYTHON=...
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PEER_VENV ?= .venv-peers
REPLAY_VENV ?= .venv-replay
# dm-reverb has no wheel for a newer one. If it is not there, uv brings one.
REPLAY_PYTHON ?= python3.11
# Pinned versions; constraints-oldest.txt has the oldest that are supported.
CONSTRAINTS ?= constraints.txt
RUN_DIR ?= runs/make_train
# Files of tests that run at once: one more than two cores, as many tests wait for processes.
TEST_WORKERS ?= 3

BIN = $(VENV)/bin
MINATAR = $(CURDIR)/build/minatar
# At the end it tells what was skipped and why, and which tests took longest.
PYTEST = PYTHONPATH="$(MINATAR)$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN)/python -m pytest -rs --durations=50 --durations-min=10 --dist loadfile --no-loadscope-reorder
SOURCES = effective_rainbow core agents networks plasticity replay envs training cluster analysis configs scripts benchmarks tests \
	notebooks docs/conf.py setup.py

.PHONY: setup train docs doctor plasticity test test-quick browser lint bench bench-gpu replay-env \
	replay-env-for-tests minatar-for-tests clean-replay-env clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml setup.py $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found; say PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

train: $(VENV)/.complete
	$(BIN)/python -m scripts.train --config=configs/data_efficient_nap.py \
		--config.num_frames=200_000 --run_dir=$(RUN_DIR)
	$(BIN)/python -m scripts.plot --layers --output=$(RUN_DIR)/learning_curve.png $(RUN_DIR)

# Strictly: a broken link is an error. Ends in build/site/index.html.
docs: $(VENV)/.complete
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/site

doctor: $(VENV)/.complete
	$(BIN)/python -m scripts.doctor

# Its arms are configurations, with commas between; one's own come with PLASTICITY_MORE=FILE,FILE.
# What PLASTICITY_FLAGS has is given to every run; a value with brackets needs quotes of its own.
STREAM = configs/classification_stream.py:rainbow
PLASTICITY_ARMS ?= $(STREAM):plain,$(STREAM):ln,$(STREAM):nap,$(STREAM):reset
PLASTICITY_MORE ?=
PLASTICITY_BASE ?= classification_rainbow_plain
PLASTICITY_SEEDS ?= 1,2,3,4,5
PLASTICITY_FLAGS ?= --config.environment.num_tasks=20
PLASTICITY_DIR ?= runs/make_plasticity
comma := ,

plasticity: $(VENV)/.complete
	$(BIN)/python -m scripts.sweep --seeds=$(PLASTICITY_SEEDS) --workers=2 \
		--configs=$(PLASTICITY_ARMS)$(PLASTICITY_MORE:%=$(comma)%) \
		--root=$(PLASTICITY_DIR) -- $(PLASTICITY_FLAGS)
	$(BIN)/python -m scripts.compare_streams --base=$(PLASTICITY_BASE) \
		--output=$(PLASTICITY_DIR)/comparison $(PLASTICITY_DIR)

# Two at once: installing waits for the network more than it computes.
test:
	@$(MAKE) --no-print-directory -j 2 lint browser replay-env-for-tests minatar-for-tests
	$(PYTEST) -n $(TEST_WORKERS)

# The tests that tests/conftest.py marks: no training, no process of their own, little to compile.
test-quick: lint
	@echo "left out: tests that train, start processes or compile much; make test has them"
	$(PYTEST) -n 2 -m quick

# For the test that opens a report. Without it, and without the right to install it, that is skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "no Chromium found or installed: the test of the report in a browser will be skipped"

# For the tests of its games, beside the environment: it is under the GPL, and nothing else needs it.
minatar-for-tests: $(VENV)/.complete
	@test -d "$(MINATAR)/minatar" || $(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) \
		--no-deps --target "$(MINATAR)" MinAtar || \
		echo "MinAtar can't be installed: the tests of its games will be skipped"

lint: $(VENV)/.complete
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python

$(PEER_VENV)/.complete: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

replay-env: $(REPLAY_VENV)/.complete

$(REPLAY_VENV)/.complete: constraints-replay.txt scripts/replay_environment.sh
	sh scripts/replay_environment.sh $(REPLAY_VENV) $(REPLAY_PYTHON)
	touch $@

clean-replay-env:
	rm -rf $(REPLAY_VENV)

# Without it, the tests that need a server are skipped, and say so.
replay-env-for-tests:
	@$(MAKE) replay-env || echo "no replay environment: tests of the replay server will be skipped"

bench: $(VENV)/.complete $(PEER_VENV)/.complete
	$(BIN)/python -m benchmarks.components
	$(BIN)/python -m benchmarks.loops
	$(BIN)/python -m benchmarks.end_to_end --peer_python=$(PEER_VENV)/bin/python

# On a machine with a GPU, with the packages of the extra `gpu`.
bench-gpu: $(VENV)/.complete
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m benchmarks.end_to_end --platform=gpu --num_envs=64

clean:
	rm -rf $(VENV) $(PEER_VENV) $(REPLAY_VENV) build *.egg-info
