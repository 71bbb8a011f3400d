"""What stands in for the prediction log where PREDICTION_LOG is off."""

from collections.abc import Sequence

from serving.errors import LogUnavailableError
from serving.feedback import FeedbackResult, Label
from serving.history import Counts, Page
from serving.prediction import ModelIdentity, Prediction
from serving.prediction_log import LogStatus, PredictionLog


class NoLog(PredictionLog):
    """Answers without keeping anything."""

    def __init__(self) -> None:
        pass

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
        """Tell that nothing is logged."""
        return LogStatus(False, None, 0)

    def check_writable(self) -> None:
        """Nothing needs to be written."""

    def feedback(self, labels: Sequence[Label]) -> FeedbackResult:  # noqa: ARG002
        """There are no predictions to label."""
        raise LogUnavailableError(OFF)

    def page(self, before: str | None = None, limit: int = 100) -> Page:  # noqa: ARG002
        """There are no predictions to show."""
        raise LogUnavailableError(OFF)

    def counts(self) -> Counts:
        """There is nothing to count."""
        raise LogUnavailableError(OFF)

    def close(self) -> None:
        """Nothing is open."""


OFF = "the prediction log is turned off (PREDICTION_LOG=off)"
