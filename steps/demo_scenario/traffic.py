"""Clients of the service: predictions and, later, true labels."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import requests

from steps.demo_scenario.data import TARGET, TIME
from steps.runtime.errors import EngineError

logger = logging.getLogger("ml-pipes")

ROWS_PER_REQUEST = 50
# Traffic during a retraining is slow enough to last twelve minutes, so that rows are left for the
# new champion on a slow machine, too.
BACKGROUND_ROWS_PER_REQUEST, BACKGROUND_PAUSE_SECONDS = 2, 0.5
REQUEST_TIMEOUT_SECONDS = 60
TAKEOVER_TIMEOUT_SECONDS = 60


@dataclass
class Traffic:
    """A client of the service and the account of its requests.

    Attributes:
        url: URL of the service.
        sent: number of rows sent.
        answered: prediction ids of all answers.
        refused: number of rows without an answer.
        versions: model versions that answered, in order of their takeover.
    """

    url: str
    sent: int = 0
    answered: list[str] = field(default_factory=list)
    refused: int = 0
    versions: list[str] = field(default_factory=list)

    def send(self, rows: pd.DataFrame) -> None:
        """Request predictions for `rows`, in order."""
        with requests.Session() as session:
            for start in range(0, len(rows), ROWS_PER_REQUEST):
                self._predict(session, rows.iloc[start : start + ROWS_PER_REQUEST])

    @contextmanager
    def in_background(self, rows: pd.DataFrame) -> Iterator["Future[None]"]:
        """Send `rows` slowly in a thread until the context ends; yield the thread's future."""
        stop = threading.Event()

        def send_slowly() -> None:
            with requests.Session() as session:
                for start in range(0, len(rows), BACKGROUND_ROWS_PER_REQUEST):
                    if stop.wait(BACKGROUND_PAUSE_SECONDS):
                        return
                    self._predict(session, rows.iloc[start : start + BACKGROUND_ROWS_PER_REQUEST])

        with ThreadPoolExecutor(1) as executor:
            sender = executor.submit(send_slowly)
            try:
                yield sender
            finally:
                stop.set()
            sender.result()

    def _predict(self, session: requests.Session, rows: pd.DataFrame) -> None:
        features = [name for name in rows.columns if name not in (TARGET, TIME)]
        body: dict[str, Any] = {name: rows[name].tolist() for name in features}
        body["id"] = _ids(rows)
        self.sent += len(rows)
        try:
            answer = session.post(f"{self.url}/predict", json=body, timeout=REQUEST_TIMEOUT_SECONDS)
            answer.raise_for_status()
        except requests.RequestException as error:
            logger.warning("request failed: %s", error)
            self.refused += len(rows)
            return
        content = answer.json()
        self.answered += [prediction["prediction_id"] for prediction in content["predictions"]]
        if (version := content["model"]["version"]) not in self.versions[-1:]:
            self.versions.append(version)

    def send_labels(self, rows: pd.DataFrame) -> None:
        """Report the true labels of `rows` in one request."""
        labels: list[dict[str, Any]] = [
            {"id": id_, "label": int(label)}
            for id_, label in zip(_ids(rows), rows[TARGET], strict=True)
        ]
        answer = requests.post(
            f"{self.url}/feedback", json={"labels": labels}, timeout=REQUEST_TIMEOUT_SECONDS
        )
        answer.raise_for_status()

    def wait_for_version(self, version: str, sender: "Future[None]") -> None:
        """Wait until `version` answers the requests of `sender`.

        Raises:
            EngineError: the version did not take over in time, or all rows were sent before.
        """
        deadline = time.monotonic() + TAKEOVER_TIMEOUT_SECONDS
        while version not in self.versions:
            if sender.done():
                sender.result()  # raises the error that ended it, if any
                raise EngineError(f"all rows were sent before version {version} took over")
            if time.monotonic() > deadline:
                raise EngineError(f"the service did not take over version {version} in time")
            time.sleep(0.2)


def _ids(rows: pd.DataFrame) -> list[str]:
    return [f"demo-{number}" for number in rows.index]
