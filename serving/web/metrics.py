"""What the service counts for Prometheus.

Several worker processes count together if PROMETHEUS_MULTIPROC_DIR names a folder (see the
documentation of prometheus-client); otherwise each answers for itself.
"""

import os
from collections.abc import Sequence
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from serving.prediction import Prediction
from serving.prediction_log import LogStatus

REQUESTS = Counter("mlpipes_requests", "Requests answered", ["route", "status"])
LATENCY = Histogram(
    "mlpipes_request_seconds",
    "From the first byte of a request to the last of its answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ROWS = Counter("mlpipes_rows_logged", "Predictions made durable, those of a retry once")
SCORES = Histogram(
    "mlpipes_score",
    "Scores answered",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
LOAD_FAILURES = Counter("mlpipes_champion_load_failures", "Attempts to load a champion that failed")
VERSION = Gauge(
    "mlpipes_champion_version",
    "Registered version of the champion that answers, 0 if there is none",
    multiprocess_mode="mostrecent",
)
SPOOLED = Gauge(
    "mlpipes_spool_rows",
    "Predictions on this machine's disk that are not in the log yet",
    multiprocess_mode="mostrecent",
)
DEGRADED = Gauge(
    "mlpipes_log_degraded",
    "1 while predictions go to the spool or wait there",
    multiprocess_mode="mostrecent",
)


# Looking a label up takes longer than counting.
_requests, _latency = cache(REQUESTS.labels), cache(LATENCY.labels)


def count_request(route: str, status: int, seconds: float) -> None:
    """Count a request that was answered."""
    _requests(route, status).inc()
    _latency(route).observe(seconds)


def count_rows(rows: Sequence[Prediction], new: bool) -> None:
    """Count rows that are about to be answered, and whether they are `new` in the log."""
    if new:
        ROWS.inc(len(rows))
    for row in rows:
        SCORES.observe(row.score)


def exposition(status: LogStatus, version: str | None) -> bytes:
    """Return all metrics in Prometheus' text format."""
    VERSION.set(float(version) if version and version.isdigit() else 0)
    SPOOLED.set(status.spooled)
    DEGRADED.set(status.degraded)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    together = CollectorRegistry()
    MultiProcessCollector(together)
    return generate_latest(together)
