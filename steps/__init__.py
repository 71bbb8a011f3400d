"""The entry points of `MLproject`, one module each; the packages below hold the rest."""

import gc
import os
import sys

from serving.loopback import exempt_loopback_from_proxy
from steps.runtime.interrupts import exit_on_interrupt_during_imports

# The imports of an entry point take seconds.
exit_on_interrupt_during_imports()
exempt_loopback_from_proxy()
# Set here, before any library is imported. None of them shall report usage.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
# PyCaret would write a file logs.log into the current folder.
os.environ.setdefault("PYCARET_CUSTOM_LOGGING_PATH", os.devnull)
# MLflow's bars would hide the steps' own progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# Who started this process, asked before that one can have died: see `steps.runtime.entry_point`.
STARTED_BY = os.getppid()

# An entry point starts (`python -m steps.NAME`): while it imports, there is nothing to collect,
# and looking for it takes a fifth of the time. `steps.runtime.entry_point` turns it on again.
if sys.argv[:1] == ["-m"]:
    gc.disable()
