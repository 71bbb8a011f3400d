"""The operations of a prediction log that the service uses."""

from collections.abc import Sequence
from typing import Protocol

from serving.log.ground_truth import FeedbackResult, Label
from serving.log.queries import Counts, Page, StoredPrediction
from serving.log.status import LogStatus
from serving.model.prediction import ModelIdentity, Prediction


class LogProtocol(Protocol):
    """A `PredictionLog`, which documents the operations, or a substitute for it."""

    def record(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows`; return the rows to answer with."""

    async def record_async(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows` as `record` does, without blocking the event loop."""

    def status(self) -> LogStatus:
        """Return the status of the log."""

    def check_writable(self) -> None:
        """Check that rows can be stored."""

    def feedback(self, labels: Sequence[Label]) -> FeedbackResult:
        """Store ground-truth labels."""

    def page(self, before: str | None = None, limit: int = 100) -> Page:
        """Return up to `limit` predictions, newest first."""

    def overview(self, max_counted: int, recent: int) -> tuple[Counts, list[StoredPrediction]]:
        """Return the numbers of rows up to a limit, and the newest predictions."""

    def close(self) -> None:
        """Close the log."""
