"""The entry points of `MLproject`, one module each; what they share is in `steps.pipeline`."""

import gc
import os
import sys

# Set here, before any library is imported. None of them shall report usage.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
# PyCaret would write a file logs.log into the current folder.
os.environ.setdefault("PYCARET_CUSTOM_LOGGING_PATH", os.devnull)
# MLflow's bars would hide the steps' own progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# Who started this process, asked before that one can have died: see `steps.pipeline.step`.
STARTED_BY = os.getppid()

# An entry point starts (`python -m steps.NAME`): while it imports, there is nothing to collect,
# and looking for it takes a fifth of the time. `steps.pipeline.step` turns it on again.
if sys.argv[:1] == ["-m"]:
    gc.disable()
