# Every target installs what it needs by itself, into .venv; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# Taken from the command line only (make serve PORT=8001): some shells export a HOST that means something else.
HOST :=
PORT :=
CONFIG := configs/omniglot.toml
ARGS :=

.PHONY: help install serve train test storm crash bench check format constraints

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## install Innerloop and its tools into .venv

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv. The first time this takes some minutes and about 5 GB, most of it PyTorch."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[service,train,dev]'
	@touch $@

serve: $(INSTALLED) ## start the server [HOST=127.0.0.1 PORT=8000 ARGS="--device cpu"]
	@$(BIN)/innerloop serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(ARGS)

train: $(INSTALLED) ## meta-train [CONFIG=configs/omniglot.toml ARGS=--resume]
	@$(BIN)/innerloop train $(CONFIG) $(ARGS)

test: $(INSTALLED) ## run the tests [ARGS="-k readme"]
	@$(BIN)/python -m pytest $(ARGS)

storm: $(INSTALLED) ## check every answer of many callers for five minutes [ARGS="--seconds 60 --seed 7"]
	@$(BIN)/python -m tests.runtime.storm $(ARGS)

crash: $(INSTALLED) ## kill writing processes and look for all they acknowledged: 100 stores, 10 servers
	@$(BIN)/python -m tests.sessions.crash --rounds 100
	@$(BIN)/python -m tests.e2e.crash --rounds 10

# Twice each: a strided conv4-64, the network of the first papers, and the shipped default.
bench: $(INSTALLED) benchmarks/.venv/installed benchmarks/.venv-serving/installed ## measure beside peers, about two hours [INNERLOOP_DATA_ROOT=FOLDER]
	benchmarks/.venv/bin/python -m benchmarks.adaptation omniglot --model-store benchmarks/model_store
	$(BIN)/python -m benchmarks.serving omniglot --model-store benchmarks/model_store
	$(BIN)/python -m benchmarks.sessions omniglot --model-store benchmarks/model_store
	$(BIN)/python -m benchmarks.stacking
	benchmarks/.venv/bin/python -m benchmarks.adaptation omniglot
	$(BIN)/python -m benchmarks.serving omniglot
	benchmarks/.venv/bin/python -m benchmarks.training

benchmarks/.venv/installed: pyproject.toml benchmarks/peers/requirements.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install --quiet "cython<3" "setuptools>=80" wheel
	CYTHON_FORCE_REGEN=1 benchmarks/.venv/bin/pip install --quiet --no-build-isolation --use-pep517 --requirement benchmarks/peers/requirements.txt
	benchmarks/.venv/bin/pip install --quiet --editable '.[service]'
	@touch $@

benchmarks/.venv-serving/installed: pyproject.toml benchmarks/peers/serving-requirements.txt
	$(PYTHON) -m venv benchmarks/.venv-serving
	benchmarks/.venv-serving/bin/pip install --quiet --editable '.[service]' --requirement benchmarks/peers/serving-requirements.txt
	@touch $@

check: $(INSTALLED) ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: ## renew constraints.txt with the newest versions, in a .venv made anew
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[service,train,dev]'
	sed -n '/^#/p' constraints.txt > .venv/constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude setuptools >> .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt
	touch $(INSTALLED)
