"""Watch on the registry that keeps the current champion loaded."""

import gc
import logging
import os
import threading

from mlflow.exceptions import MlflowException

from serving.errors import NoChampionError, ServingError, one_line
from serving.secrets import masked
from serving.web import metrics
from serving.web.champion_folders import remove_abandoned
from serving.web.loading import LoadedChampion, ResolvedModel, load, resolve

logger = logging.getLogger("ml-pipes")

LONGEST_PAUSE, MAX_DOUBLINGS = 60.0, 10
SEE_LOG = "the registry or its files are unavailable, see the log of the service"
MLFLOW_SETTINGS = {
    # By default, MLflow waits for minutes for a registry that is unavailable.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def keep_present_objects() -> None:
    """Exclude all present objects from garbage collection, whose passes would delay requests.

    Called after a load: what it imported and made stays.
    """
    gc.collect()
    gc.freeze()


class ChampionWatch:
    """Loads each new champion in a thread, and swaps it in for the requests that follow."""

    _use = "serving"  # what is done with the model, in the texts of the log
    _load_failures = metrics.LOAD_FAILURES

    def __init__(self, uri: str, poll_seconds: float, max_rows: int) -> None:
        self._uri = uri
        self._poll_seconds = poll_seconds
        self._max_rows = max_rows
        self._champion: LoadedChampion | None = None
        self._swapping = threading.Lock()
        self._failed: ResolvedModel | None = None
        self._failures = 0
        self.last_error: str | None = None
        self._polled = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion-watch", daemon=True)

    def start(self, timeout: float) -> None:
        """Start the watch, and wait up to `timeout` seconds for its first poll."""
        for name, value in MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        remove_abandoned()
        self._thread.start()
        self._polled.wait(timeout)

    def stop(self) -> None:
        """Stop the watch and release the champion; a running download ends with the process."""
        with self._swapping:
            self._stopping.set()
            self._champion = None

    def current(self) -> LoadedChampion:
        """Return the current champion.

        Raises:
            NoChampionError: none has been loaded yet.
        """
        champion = self._champion  # read once: another thread may stop the watch
        if champion is None:
            reason = f" ({self.last_error})" if self.last_error else ""
            text = f"waiting for the first champion{reason}"
            raise NoChampionError(text, for_callers=text)
        return champion

    @property
    def loaded(self) -> LoadedChampion | None:
        """The current champion, if one has been loaded."""
        return self._champion

    @property
    def version(self) -> str | None:
        """The registered version of the current champion."""
        champion = self._champion
        return champion.model.version if champion else None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._poll()
            except Exception as error:  # the current champion remains in use
                self._report_failure(error)
                if not isinstance(error, ServingError | MlflowException | OSError):
                    logger.exception("unexpected error while polling for a champion")
            self._polled.set()
            # The files of a version may appear late: it is retried at growing intervals.
            pause = self._poll_seconds * 2 ** min(self._failures, MAX_DOUBLINGS)
            self._stopping.wait(max(self._poll_seconds, min(pause, LONGEST_PAUSE)))

    def _poll(self) -> None:
        source = resolve(self._uri)
        if source is None:
            self._handle_absence()
            return
        champion = self._champion
        if champion is not None and source.uri == champion.source.uri:
            self._failed, self._failures = None, 0
            self._report(None)
            return
        if source != self._failed:
            self._failed, self._failures = source, 0
        try:
            self._swap_in(load(source, self._max_rows))
        except Exception:
            self._failures += 1
            self._load_failures.inc()
            raise
        self._failed, self._failures = None, 0
        self.last_error = None
        keep_present_objects()
        logger.warning("now %s %s", self._use, source.uri)

    def _handle_absence(self) -> None:
        """Keep the current champion although its version or alias has disappeared."""
        self._report(None if self._champion is None else "the model no longer exists")

    def _swap_in(self, champion: LoadedChampion) -> None:
        with self._swapping:
            if not self._stopping.is_set():
                self._champion = champion

    def _report_failure(self, error: Exception) -> None:
        private = f"{masked(self._uri)} cannot be loaded: {one_line(error)}"
        public = error.for_callers if isinstance(error, ServingError) else SEE_LOG
        self._report(f"the model cannot be loaded: {public}", private)

    def _report(self, error: str | None, private: str | None = None) -> None:
        """Set `last_error`, which callers see, and log it or the text for operators."""
        if error and error != self.last_error:
            champion = self._champion
            fallback = f"; still {self._use} {champion.source.uri}" if champion else ""
            logger.warning("%s%s", private or error, fallback)
        self.last_error = error
