"""State of the prediction log and its spool."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from serving.errors import LogUnavailableError

logger = logging.getLogger("ml-pipes")

UNAVAILABLE = "the prediction log is unavailable: predictions go to the spool"
MOVING = "predictions are being moved from the spool to the prediction log"


@dataclass(frozen=True)
class LogStatus:
    """A snapshot of the log.

    Attributes:
        degraded: whether predictions go to the spool or wait there.
        reason: why, if degraded; may quote a driver.
        for_callers: why, without addresses and texts of a driver.
        spooled: the number of predictions that wait.
    """

    degraded: bool
    reason: str | None
    spooled: int
    for_callers: str | None = None


class LogHealth:
    """Errors of the log and its spool as last seen; shared by the threads of the log.

    Attributes:
        log_error: why the log cannot be written, None if it can.
        spool_error: why the spool cannot be written, None if it can.
        spooled: the number of predictions in the spool.
        counting: held while the spool and `spooled` change together.
    """

    def __init__(self, spool_file: Path) -> None:
        self.log_error: str | None = None
        self.spool_error: str | None = None
        self.spooled = 0
        self.counting = threading.Lock()
        self._spool_file = spool_file

    def log_failed(self, reason: str) -> None:
        """Note that the log cannot be written: predictions go to the spool."""
        self.log_error = reason
        logger.warning("%s; predictions go to the spool %s", reason, self._spool_file)

    def status(self) -> LogStatus:
        """Return a snapshot, without waiting."""
        reason, spooled = self.log_error, self.spooled
        for_callers = None if reason is None else UNAVAILABLE
        if reason is None and spooled:
            reason = for_callers = MOVING
        return LogStatus(reason is not None, reason, spooled, for_callers)

    def check_log(self) -> None:
        """Check that the log was available when last used.

        Raises:
            LogUnavailableError: it was not.
        """
        if self.log_error is not None:
            raise LogUnavailableError(f"{self.log_error}: try again later")

    def check_writable(self) -> None:
        """Check that the log or its spool was writable when last used.

        Raises:
            LogUnavailableError: neither was.
        """
        if self.log_error is not None and self.spool_error is not None:
            raise LogUnavailableError(f"{self.log_error}; {self.spool_error}")
