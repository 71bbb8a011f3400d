"""Progress messages of long work, and the time that a step spends on each kind of work."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import psutil

from steps.runtime.live_line import is_drawn, working

logger = logging.getLogger("ml-pipes")

MESSAGE_INTERVAL_SECONDS = 20

# Kinds of work that the live line shows, as phrases. Training has titles of its own.
WORK = {
    "data": "reading the data",
    "preparing": "fitting the preparation of the features",
    "exporting": "exporting and verifying",
    "importance": "measuring the importance of columns",
    "drawing": "drawing",
    "recording": "recording in MLflow",
    "judging": "evaluating",
}

# Seconds of this process by kind of work; evaluated by `benchmarks.step_durations`.
seconds: dict[str, float] = defaultdict(float)
# Seconds of the blocks nested in each open block, outermost first.
_nested: list[float] = []


@contextmanager
def timed(kind: str) -> Iterator[None]:
    """Add the duration of a block to `seconds[kind]`, without the timed blocks nested in it."""
    start = time.monotonic()
    _nested.append(0.0)
    try:
        with working(WORK[kind]) if kind in WORK else nullcontext():
            yield
    finally:
        elapsed = time.monotonic() - start
        seconds[kind] += elapsed - _nested.pop()
        if _nested:
            _nested[-1] += elapsed


def seconds_as_metrics() -> dict[str, float]:
    """Return the metrics `seconds_KIND`, and `seconds_total` since the start of this process."""
    total = time.time() - psutil.Process().create_time()
    return {f"seconds_{kind}": spent for kind, spent in seconds.items()} | {"seconds_total": total}


@contextmanager
def progress(title: str, kind: str = "training") -> Iterator[None]:
    """Log the start and the end of long work, and every 20 seconds the elapsed time.

    A terminal has the elapsed time in its live line instead.

    Args:
        title: The work as a phrase for the messages.
        kind: The kind of work that `timed` adds the duration to.
    """
    done = threading.Event()
    start = time.monotonic()

    def report() -> None:
        while not done.wait(MESSAGE_INTERVAL_SECONDS):
            if not is_drawn():
                logger.info("%s: %.0f s so far", title, time.monotonic() - start)

    logger.info("%s ...", title)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        with working(title), timed(kind):
            yield
    finally:
        done.set()
        reporter.join()
    logger.info("%s: done in %.1f s", title, time.monotonic() - start)
