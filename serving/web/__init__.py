"""The HTTP service around the champion and its prediction log: see `serving.app`."""

import os

# Set here, before the libraries are imported. None of them shall report usage.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
