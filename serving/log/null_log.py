"""A prediction log that stores nothing, for PREDICTION_LOG=off."""

from collections.abc import Sequence
from typing import NoReturn

from serving.errors import LogUnavailableError
from serving.log.ground_truth import Label
from serving.log.status import LogStatus
from serving.model.prediction import ModelIdentity, Prediction

OFF = "the prediction log is turned off (PREDICTION_LOG=off)"


class NullLog:
    """A `LogProtocol` that accepts predictions and discards them."""

    def record(
        self,
        rows: list[Prediction],
        model: ModelIdentity,  # noqa: ARG002
        source: str,  # noqa: ARG002
        request_id: str | None = None,  # noqa: ARG002
    ) -> list[Prediction]:
        """Return `rows`."""
        return rows

    async def record_async(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Return `rows`."""
        return self.record(rows, model, source, request_id)

    def status(self) -> LogStatus:
        """Return that nothing is degraded."""
        return LogStatus(degraded=False, reason=None, spooled=0)

    def check_writable(self) -> None:
        """Do nothing: no row needs to be stored."""

    def feedback(self, labels: Sequence[Label]) -> NoReturn:  # noqa: ARG002
        """Refuse: there are no predictions to label."""
        raise LogUnavailableError(OFF, OFF)

    def page(self, before: str | None = None, limit: int = 100) -> NoReturn:  # noqa: ARG002
        """Refuse: there are no predictions to show."""
        raise LogUnavailableError(OFF, OFF)

    def overview(self, max_counted: int, recent: int) -> NoReturn:  # noqa: ARG002
        """Refuse: there is nothing to show."""
        raise LogUnavailableError(OFF, OFF)

    def close(self) -> None:
        """Do nothing: nothing is open."""
