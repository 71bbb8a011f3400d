# What people type. `make` alone lists it.

ARGS ?=
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-slow demo serve ui lint audit env containers lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run ## Train, compare and promote on the full real data (ARGS="-P data=sample -P profile=quick")
	mlflow run . --env-manager local $(ARGS)

test: $(VENV)/dev ## Run all tests but the slow ones (ARGS="-m quick" for the quick ones)
	python -m pytest $(ARGS)

test-slow: $(VENV)/dev ## Run the tests that take long or need much
	python -m pytest -m slow $(ARGS)

demo: $(VENV)/run ## Play the closed loop in a few minutes: drift, retraining, a new champion (ARGS="-P clean=true" removes it)
	mlflow run . -e demo --env-manager local $(ARGS)

serve: $(VENV)/run ## Serve the champion on 127.0.0.1:5001; it logs each prediction (ARGS="--workers 2")
	uvicorn serving.app:app --host 127.0.0.1 --port 5001 --no-access-log $(ARGS)

ui: $(VENV)/run ## Open MLflow's pages on 127.0.0.1:5000
	mlflow ui --host 127.0.0.1 --port 5000

lint: $(VENV)/dev ## Check format, style and types
	ruff format --check .
	ruff check .
	mypy
	hadolint Dockerfile
	check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml

audit: ## Look the locks up in a database of known vulnerabilities (needs uv and a network)
	containers/audit

env: ## Write .env with random passwords for the containers; what is there stays
	@containers/write-env

containers: env ## Build the images and start them: the UI on 127.0.0.1:5000, the API on 127.0.0.1:5001
	@docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1 || { \
	  echo "No running container engine: install Docker with its compose plugin and start it" >&2; exit 1; }
	docker compose up --build --wait

lock: ## Renew the locks from the .in files (needs uv) and what is generated from them
	uv pip compile requirements.in --output-file requirements.txt $(LOCK_FLAGS)
	for part in pip dev serving tracking; do \
	  uv pip compile requirements-$$part.in --output-file requirements-$$part.txt $(LOCK_FLAGS) || exit 1; \
	done
	python -m tests.generated

clean: ## Remove the environment; runs, models and logged predictions stay
	rm -rf $(VENV)

LOCK_FLAGS := --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" --quiet

# --- The environment: made by uv if it is there, else by venv and pip. Both compile the
# libraries to bytecode, without which each step would start several seconds later.

$(VENV)/run: requirements.txt
	@$(create_environment)
	@$(call install,-r requirements.txt)
	@touch $@

$(VENV)/dev: requirements.txt requirements-dev.txt $(VENV)/run
	@$(call install,-r requirements.txt -r requirements-dev.txt)
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
      echo "Python 3.11 is needed (PyCaret takes no newer one) and was not found: install it, or uv" >&2; \
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
  for locked in "-r requirements-pip.txt" "$(1)"; do \
    $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
      $$locked || exit 1; \
  done; \
fi
endef
