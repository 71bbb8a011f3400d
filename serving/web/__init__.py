"""The HTTP service around the champion and its prediction log (see `serving.app`)."""

import os

from serving.loopback import exempt_loopback_from_proxy

exempt_loopback_from_proxy()
# Set before the libraries are imported: none of them may report usage.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
