"""Signs of life from work that is silent for minutes."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("ml-pipes")

EVERY_SECONDS = 20


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what begins, every 20 seconds that it still goes on, and how long it took."""
    done = threading.Event()
    start = time.monotonic()

    def report() -> None:
        while not done.wait(EVERY_SECONDS):
            log.info("%s: %.0f s so far", what, time.monotonic() - start)

    log.info("%s ...", what)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    log.info("%s: done in %.1f s", what, time.monotonic() - start)
