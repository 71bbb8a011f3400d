"""A shared H2O cluster: the connection to it, and the removal of this step's objects from it."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import count
from typing import Any

import h2o
from h2o.exceptions import H2OError, H2OServerError

from serving.errors import one_line
from steps.runtime.errors import EngineError

logger = logging.getLogger("ml-pipes")

# Cancelled jobs end at their next check.
CANCEL_SECONDS = 30

_numbers = count(1)


@contextmanager
def h2o_cluster(url: str) -> Iterator[None]:
    """Connect to the cluster at `url`; on exit, remove what was made in it meanwhile.

    Raises:
        EngineError: The cluster is unreachable, unhealthy, or of another version.
    """
    _connect(url)
    try:
        yield
    finally:
        try:
            _remove_own_objects()
        except (H2OError, OSError) as error:
            logger.warning("frames and models may be left in %s: %s", url, one_line(error))
        h2o.connection().close()


def own_name(title: str) -> str:
    """Return a new name for a frame or model, by which its session recognises it as its own."""
    return f"{title}_{next(_numbers)}{h2o.connection().session_id}"


def _connect(url: str) -> None:
    """Connect to a healthy cluster of the client's version.

    Raises:
        EngineError: The cluster is unreachable, unhealthy, or of another version.
    """
    try:
        with redirect_stdout(None):  # the client prints advice about versions
            h2o.connect(url=url, verbose=False)
    except H2OServerError as error:
        raise EngineError(
            f"h2o_url: the H2O cluster at {url} is unhealthy: {one_line(error)}; wait until "
            "all of its nodes have joined, or restart it"
        ) from error
    except (H2OError, OSError) as error:
        raise EngineError(f"h2o_url: no H2O answers at {url}: {one_line(error)}") from error
    version = h2o.cluster().version
    if version != h2o.__version__:
        h2o.connection().close()
        raise EngineError(
            f"h2o_url: the H2O cluster at {url} has version {version}, the client has "
            f"{h2o.__version__}; start the cluster with the h2o.jar of that version, or leave "
            "h2o_url empty"
        )


def _remove_own_objects() -> None:
    """Cancel the jobs of the current session, and remove its frames, models and metrics."""
    marks = [h2o.connection().session_id]
    # AutoML names its models after its run, and the run's copy of the data after our frame.
    training = re.compile(rf"(AutoML_\d+_\d+_\d+)_training_.*{re.escape(marks[0])}")
    marks += {found[1] for key in _keys() if (found := training.fullmatch(key))}
    _cancel_jobs(marks)
    for key in _keys():
        if _is_own(key, marks):
            h2o.remove(key)


def _keys() -> list[str]:
    return list(h2o.ls()["key"])


def _is_own(key: str, marks: list[str]) -> bool:
    return any(re.search(rf"{re.escape(mark)}(?![0-9a-f])", key) for mark in marks)


def _cancel_jobs(marks: list[str]) -> None:
    """Cancel the running jobs whose result is ours, and wait until they have ended."""
    deadline = time.monotonic() + CANCEL_SECONDS
    cancelled: set[str] = set()
    while running := [job for job in _running_jobs() if _is_own(job["dest"]["name"], marks)]:
        for key in {job["key"]["name"] for job in running} - cancelled:
            h2o.api(f"POST /3/Jobs/{key}/cancel")
            cancelled.add(key)
        if time.monotonic() > deadline:
            raise OSError(f"{len(running)} jobs did not end within {CANCEL_SECONDS} s")
        time.sleep(0.2)


def _running_jobs() -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = h2o.api("GET /3/Jobs")["jobs"]
    return [job for job in jobs if job["status"] == "RUNNING"]
