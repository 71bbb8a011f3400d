# The project's commands. `make` lists them.

ARGS ?=
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export ORT_DISABLE_TELEMETRY := 1
export MLFLOW_LOGGING_LEVEL ?= WARNING

.DEFAULT_GOAL := help
.PHONY: help run test test-slow bench demo serve ui lint audit env containers lock clean

help: ## List all commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run ## Train, compare and promote on the full data set (ARGS="-P data=sample -P profile=quick")
	mlflow run . --env-manager local $(call experiment,$(MODEL_NAME)) $(ARGS)

test: $(VENV)/dev ## Run all tests except the slow ones (ARGS="-m quick" for the quick ones only)
	python -m pytest --numprocesses logical --maxprocesses 4 $(ARGS)

test-slow: $(VENV)/dev ## Run the slow tests
	python -m pytest -m slow $(ARGS)

bench: $(VENV)/dev ## Run the benchmarks of serving (ARGS="serving --short" for a short round)
	python -m benchmarks $(ARGS)

demo: $(VENV)/run ## Show the closed loop: drift, retraining, a new champion (ARGS="-P clean=true" removes the demo)
	mlflow run . -e demo --env-manager local $(call experiment,demo-credit-card-fraud) $(ARGS)

serve: $(VENV)/run ## Serve the champion on 127.0.0.1:5001 and log its predictions (ARGS="--workers 2")
	uvicorn serving.app:app --host 127.0.0.1 --port 5001 --no-access-log $(ARGS)

ui: $(VENV)/run ## Start the MLflow UI on 127.0.0.1:5000
	mlflow ui --host 127.0.0.1 --port 5000

lint: $(VENV)/dev ## Check formatting, style and types
	ruff format --check .
	ruff check .
	mypy
	hadolint containers/Dockerfile
	check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml

audit: ## Check the locks for known vulnerabilities (requires uv and network access)
	containers/audit

env: ## Write .env with random passwords for the containers; existing values are kept
	@containers/write-env

containers: env ## Build and start the containers: MLflow on 127.0.0.1:5000, the service on 127.0.0.1:5001
	@docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1 || { \
	  echo "No container engine is running: install Docker with its compose plugin and start it" >&2; exit 1; }
	docker compose up --build --wait

lock: ## Update the locks from requirements/*.in (requires uv), and all generated files
	uv pip compile requirements/pipeline.in --output-file requirements.txt $(LOCK_FLAGS)
	cd requirements && for name in pip dev serving tracking autogluon flaml; do \
	  uv pip compile $$name.in --output-file $$name.txt $(LOCK_FLAGS) || exit 1; \
	done
	python -m tests.support.generated_files

clean: ## Remove the environment; runs, models and logged predictions are kept
	rm -rf $(VENV)

LOCK_FLAGS := --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" --quiet

# Runs are in an experiment named like the model, unless another one is given. A name in quotes has
# several words here, so that it is not recognised.
QUOTED := model_name='% model_name="%
MODEL_NAME = $(or $(patsubst model_name=%,%,$(filter-out $(QUOTED),$(filter model_name=%,$(ARGS)))),$\
	credit-card-fraud)
experiment = $(if $(findstring --experiment-,$(ARGS))$(MLFLOW_EXPERIMENT_NAME)$(MLFLOW_EXPERIMENT_ID),,--experiment-name $(1))

# The environment is created with uv if it is installed, otherwise with venv and pip. Libraries are
# compiled to bytecode on installation: without it, each step would start several seconds later.

$(VENV)/run: requirements.txt
	@$(create_environment)
	@$(call install,-r requirements.txt)
	@touch $@

$(VENV)/dev: requirements.txt requirements/dev.txt $(VENV)/run
	@$(call install,-r requirements.txt -r requirements/dev.txt)
	@touch $@

define create_environment
if [ ! -x $(VENV)/bin/python ]; then \
  if command -v uv >/dev/null; then uv venv --quiet --python 3.11 $(VENV); \
  else \
    for python in python3.11 python3 python; do \
      if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
      then found=$$python; break; fi; \
    done; \
    if [ -z "$$found" ]; then \
      echo "Python 3.11 was not found (PyCaret does not support newer versions): install it, or uv" >&2; \
      exit 1; \
    fi; \
    $$found -m venv $(VENV); \
  fi; \
fi
endef

define install
echo "Installing into $(VENV) (2 GB; a few minutes the first time) ..."; \
if command -v uv >/dev/null; \
then uv pip install --quiet --python $(VENV)/bin/python --compile-bytecode --require-hashes $(1); \
else \
  for locked in "-r requirements/pip.txt" "$(1)"; do \
    $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
      $$locked || exit 1; \
  done; \
fi
endef
