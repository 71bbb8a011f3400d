"""Signs of life from work that is silent for minutes, and where a step's seconds go."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

log = logging.getLogger("ml-pipes")

EVERY_SECONDS = 20

# Of this process, by what they went into: see `benchmarks.where_time_goes`.
seconds: dict[str, float] = defaultdict(float)
# Of the blocks within those that are open, the outermost first.
_inner: list[float] = []


@contextmanager
def spent_on(what: str) -> Iterator[None]:
    """Add the seconds of a block to those of `what`, without those of such blocks within it."""
    start = time.monotonic()
    _inner.append(0.0)
    try:
        yield
    finally:
        whole = time.monotonic() - start
        seconds[what] += whole - _inner.pop()
        if _inner:
            _inner[-1] += whole


def seconds_as_metrics() -> dict[str, float]:
    """Return the seconds of this process by what they went into, and all since its start."""
    total = time.time() - psutil.Process().create_time()
    return {f"seconds_{what}": spent for what, spent in seconds.items()} | {"seconds_total": total}


@contextmanager
def progress(what: str, kind: str = "training") -> Iterator[None]:
    """Say that long work begins, every 20 seconds that it goes on, and how long it took."""
    done = threading.Event()
    start = time.monotonic()

    def report() -> None:
        while not done.wait(EVERY_SECONDS):
            log.info("%s: %.0f s so far", what, time.monotonic() - start)

    log.info("%s ...", what)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        with spent_on(kind):
            yield
    finally:
        done.set()
        reporter.join()
    log.info("%s: done in %.1f s", what, time.monotonic() - start)
