"""Prometheus metrics.

Worker processes share their counts if PROMETHEUS_MULTIPROC_DIR names a folder (see the
documentation of prometheus-client); otherwise each reports its own.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from serving.log.status import LogStatus
from serving.model.prediction import Prediction

REQUESTS = Counter("mlpipes_requests", "Requests answered", ["route", "status"])
LATENCY = Histogram(
    "mlpipes_request_seconds",
    "Time from receiving a request to sending its answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ROWS = Counter("mlpipes_rows_logged", "Predictions made durable; retries are not counted again")
SCORES = Histogram(
    "mlpipes_score",
    "Scores returned",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
UNSEEN = Counter(
    "mlpipes_unseen_levels",
    "Values of a category that the training data did not have; they are scored",
    ["feature"],
)
LOAD_FAILURES = Counter("mlpipes_champion_load_failures", "Failed attempts to load a champion")
VERSION = Gauge(
    "mlpipes_champion_version",
    "Registered version of the current champion, 0 if there is none",
    multiprocess_mode="mostrecent",
)
SPOOLED = Gauge(
    "mlpipes_spool_rows",
    "Predictions in the spool of this machine that are not in the log yet",
    multiprocess_mode="mostrecent",
)
DEGRADED = Gauge(
    "mlpipes_log_degraded",
    "1 while predictions are written to the spool or wait in it",
    multiprocess_mode="mostrecent",
)
SHADOW_ROWS = Counter(
    "mlpipes_shadow_rows", "Predictions that the challenger also scored, with its score stored"
)
SHADOW_DROPPED = Counter(
    "mlpipes_shadow_rows_dropped",
    "Predictions that the challenger did not score, or whose score was not stored",
    ["reason"],
)
SHADOW_LOAD_FAILURES = Counter(
    "mlpipes_shadow_load_failures", "Failed attempts to load a challenger"
)
SHADOW_VERSION = Gauge(
    "mlpipes_shadow_version",
    "Registered version of the current challenger, 0 if there is none",
    multiprocess_mode="mostrecent",
)


# Looking up a label takes longer than counting.
_requests, _latency = cache(REQUESTS.labels), cache(LATENCY.labels)


def count_request(route: str, status: int, seconds: float) -> None:
    """Count an answered request."""
    _requests(route, status).inc()
    _latency(route).observe(seconds)


def count_rows(rows: Sequence[Prediction], new: bool) -> None:
    """Count rows about to be returned; those of a retry are not `new` in the log."""
    if new:
        ROWS.inc(len(rows))
    for row in rows:
        SCORES.observe(row.score)


def count_unseen(counts: Mapping[str, int]) -> None:
    """Count values of levels that the training data did not have, by feature."""
    for feature, count in counts.items():
        UNSEEN.labels(feature).inc(count)


def exposition(status: LogStatus, version: str | None, shadow_version: str | None) -> bytes:
    """Return all metrics in Prometheus' text format."""
    VERSION.set(_number(version))
    SHADOW_VERSION.set(_number(shadow_version))
    SPOOLED.set(status.spooled)
    DEGRADED.set(status.degraded)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


def _number(version: str | None) -> float:
    return float(version) if version and version.isdigit() else 0.0
