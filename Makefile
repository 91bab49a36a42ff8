# The menu: `make` lists what can be done. Everything is set up on first use, in this folder only.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# A Python 3.11 (MXNet 1.9.1 and its NumPy have no later wheels); `make PYTHON=/path/to/python3.11 setup` names another.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; echo python3)
PORT ?= 4566
AIRFLOW_PORT ?= 8080
WORKERS ?= 2
STACK ?= image-classification
EXAMPLES ?= 2000
SEED ?= 1
# Two test processes more than there are cores: those that run Airflow wait for half of their time.
JOBS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 2 )))
BENCHMARKS := $(filter-out __init__ training,$(basename $(notdir $(wildcard benchmarks/*.py))))

export PORT AIRFLOW_PORT
# Airflow is many processes of 1,500 modules each. Without byte code on disk each compiles them all again, which takes
# twice as long as loading them.
unexport PYTHONDONTWRITEBYTECODE

AIRFLOW := .venv/bin/python
MXNET := .venv-mxnet/bin/python
PYTORCH := .venv-pytorch/bin/python
environments = @"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit("Python 3.11 is needed, but $(PYTHON) is %d.%d: install it, or name one with make PYTHON=/path/to/python3.11" % v)' \
	&& "$(PYTHON)" tools/environments.py

.PHONY: help setup demo demo-retrain local down test test-python test-mwaa sagemaker pytorch stack image-uris fuzz lint format lock up compose-down test-compose test-docker test-demos bench-datasets bench-training chaos clean demo-pytorch

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@$(if $(BENCHMARKS),printf '  make %-20s %s\n' $(foreach b,$(BENCHMARKS),bench-$(subst _,-,$(b)) "measure: benchmarks/$(b).py"))

setup: ## make the two environments, .venv and .venv-mxnet (done by itself where needed)
	$(environments) setup

demo: setup ## run the whole chain on this machine: local AWS, Airflow, training, endpoint
	@$(AIRFLOW) -m demo run

demo-pytorch: setup ## run the chain with the PyTorch scripts: tune, train in full, deploy (makes also .venv-pytorch)
	$(environments) pytorch
	@$(AIRFLOW) -m demo pytorch

demo-retrain: setup ## after `make demo`: new images retrain the model that serves, and bad ones do not
	@$(AIRFLOW) -m demo retrain

local: setup ## start the local AWS and Airflow, and leave them to you
	@$(AIRFLOW) -m demo up

down: ## end what `make demo` and `make local` started
	@if [ -x $(AIRFLOW) ]; then $(AIRFLOW) -m demo down; else echo "Nothing is running."; fi

# An Airflow and a browser that run take more processor time the more runs beside them. So the tests of containers/ and
# algorithms/, which have environments of their own, come last, all at once.
test: ## run every test (makes also the environments of the SageMaker SDKs and of PyTorch)
	$(environments) test-setup
	@status=0; others=; logs=$$(mktemp -d); trap 'kill $$others 2>/dev/null; rm -rf $$logs' EXIT; \
	$(AIRFLOW) -m pytest -n $(JOBS) --durations=10 tests --ignore=tests/containers --ignore=tests/algorithms || status=1; \
	export OMP_NUM_THREADS=1; \
	$(MXNET) -m pytest --durations=10 tests/containers >$$logs/1 2>&1 & others=$$!; \
	if [ -d tests/algorithms ]; then \
		$(PYTORCH) -m pytest --durations=10 tests/algorithms/container_template >$$logs/2 2>&1 & others="$$others $$!"; \
		$(PYTORCH) -m pytest --durations=10 tests/algorithms --ignore=tests/algorithms/container_template || status=1; \
	fi; \
	for other in $$others; do wait $$other || status=1; done; \
	cat $$logs/*; \
	exit $$status

# Those of 3.11 are part of `make test`. All Pythons are tried, whatever the first says.
test-python: ## run the unit tests, and import every DAG, on Python 3.12 and 3.13
	$(environments) python-setup
	@status=0; \
	for python in .venv-3.12 .venv-3.13; do \
		echo "$$python:"; $$python/bin/python -m pytest -n $(JOBS) tests/unit tests/integration/dags/test_dags.py || status=1; \
	done; \
	exit $$status

test-mwaa: ## import every DAG with the core requirements under MWAA's constraints (CONSTRAINTS=FILE)
	$(environments) mwaa-setup
	@.venv-mwaa/bin/python -m pytest tests/integration/dags/test_dags.py

test-demos: ## run `make demo`, `make demo-retrain` and `make demo-pytorch` to their ends, and check their figures
	$(environments) pytorch
	@ALL_DEMOS=1 $(AIRFLOW) -m pytest tests/end_to_end/test_demos.py

sagemaker: ## make .venv-sagemaker: the SageMaker SDK v3 of notebooks and of examples/
	$(environments) sagemaker

pytorch: ## make .venv-pytorch: PyTorch and AWS's toolkits, for AWS's PyTorch images on this machine
	$(environments) pytorch

stack: setup ## make or update the AWS stack: buckets, queue, roles, repository (STACK=image-classification PARAMETERS="KeepDays=90" ARGS=--show)
	@$(AIRFLOW) tools/stack.py $(STACK) $(PARAMETERS) $(ARGS)

image-uris: sagemaker ## write the tables of image addresses from what the SageMaker SDK says
	@.venv-sagemaker/bin/python tools/image_uris.py

# Hypothesis draws the inputs from the seed. Whole builds take far longer than a reader, so they get fewer examples.
fuzz: setup ## feed every reader with damaged bytes for some minutes (EXAMPLES=2000 SEED=1)
	@status=0; \
	FUZZ_EXAMPLES=$(EXAMPLES) $(AIRFLOW) -m pytest -n $(JOBS) --timeout 3600 --hypothesis-seed=$(SEED) tests/fuzz || status=1; \
	FUZZ_EXAMPLES=$$(( $(EXAMPLES) / 20 + 1 )) $(AIRFLOW) -m pytest --timeout 3600 --hypothesis-seed=$(SEED) \
		tests/unit/datasets/test_fuzz.py || status=1; \
	FUZZ_EXAMPLES=$(EXAMPLES) OMP_NUM_THREADS=1 $(MXNET) -m pytest -n $(JOBS) --timeout 3600 --hypothesis-seed=$(SEED) \
		tests/containers -k fuzz || status=1; \
	exit $$status

lint: setup ## ruff, mypy --strict, import rules, plain English
	@status=0; \
	.venv/bin/ruff check . || status=1; \
	.venv/bin/ruff format --check . || status=1; \
	.venv/bin/mypy || status=1; \
	PYTHONPATH=.:plugins .venv/bin/lint-imports || status=1; \
	$(AIRFLOW) tools/plain_english.py || status=1; \
	exit $$status

format: setup ## format, and mend what ruff can mend
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

lock: ## compile every requirements.in to its pinned requirements.txt (CONSTRAINTS=FILE instead of Airflow's)
	$(environments) lock

up: ## start the installation of docker-compose.yaml (WORKERS=2 Celery workers), with the local AWS
	@"$(PYTHON)" tools/compose.py up $(WORKERS)

compose-down: ## end it and remove its volumes
	@"$(PYTHON)" tools/compose.py down

test-compose: setup ## run the chain and a retraining in the docker compose installation, then remove it
	@$(AIRFLOW) -m tests.compose.run

test-docker: setup ## publish a container image, train and serve in it, on a Docker engine
	@$(AIRFLOW) -m pytest tests/docker/on_an_engine.py

bench-datasets: ## measure dataset builds beside im2rec and other writers (ARGS="--quick --only build")
	$(environments) bench-setup
	@$(AIRFLOW) -m benchmarks.datasets $(ARGS)

bench-training: setup ## measure preflight, overhead, API calls and CPU of training tasks (ARGS="--jobs 50 --write")
	@$(AIRFLOW) -m benchmarks.training $(ARGS)

chaos: setup ## kill parts of Airflow at random while 40 runs train (ARGS="--dag retrain_on_new_images --runs 20 --seed 1")
	@PYTHONPATH=.:plugins $(AIRFLOW) -m tests.end_to_end.chaos $(ARGS)

# torchvision has versions that fit a torch of their own only, several GB on Linux x86: hence an environment for it alone.
bench-pytorch-reader:
	@test -x .venv-torchvision/bin/torchrun || { "$(PYTHON)" -m venv .venv-torchvision && \
		.venv-torchvision/bin/pip install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1; }
	@PYTHONPATH=.:algorithms/pytorch .venv-torchvision/bin/python -m benchmarks.pytorch_reader

# A benchmark runs in the environment that its own first lines name.
bench-%: setup
	@module=benchmarks.$(subst -,_,$*); \
	if grep -q 'venv-mxnet/bin/python -m' benchmarks/$(subst -,_,$*).py; then $(MXNET) -m $$module; else $(AIRFLOW) -m $$module; fi

clean: down ## remove the environments and everything that ran here
	@rm -rf .venv .venv-* .tools .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
