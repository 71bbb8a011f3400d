"""Explanations of `/predict`: the member `explain` of its body, the queue, and retries."""

from typing import Any

import anyio
from anyio.to_thread import run_sync

from serving.model.explanations import Explainer, Explanation
from serving.model.prediction import Prediction
from serving.web.columns import Rows
from serving.web.loading import LoadedChampion
from serving.web.problems import invalid

EXPLAIN = "explain"
MAX_EXPLAINED_ROWS = 20


def asks_to_explain(content: Any, names: list[str], id_column: str) -> bool:
    """Return whether a body of `/predict` asks for explanations.

    A column of the model with this name stays a column, and a list is a column that is ignored.

    Raises:
        InvalidRequestError: The value is neither of these, nor a boolean or null.
    """
    if not isinstance(content, dict) or EXPLAIN not in content:
        return False
    value = content[EXPLAIN]
    if EXPLAIN in names or id_column == EXPLAIN or isinstance(value, list):
        return False
    if value is not None and type(value) is not bool:
        raise invalid(EXPLAIN, "must be true or false")
    return bool(value)


class ExplanationQueue:
    """Explains one request at a time, in a thread, so that other requests are not delayed."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def explain(
        self, champion: LoadedChampion, rows: Rows, scored: list[Prediction]
    ) -> list[Explanation]:
        """Return the explanations of a request's rows.

        Raises:
            InvalidRequestError: The champion has no reference rows, or the rows are too many.
            ScorerError: The model cannot score.
        """
        explainer = _explainer(champion, len(scored))
        scores = [row.score for row in scored]
        return await run_sync(explainer.explain, rows.features, scores, limiter=self._limiter)


def _explainer(champion: LoadedChampion, n_rows: int) -> Explainer:
    if champion.explainer is None:
        rule = (
            "the champion was registered by an earlier release and has no reference rows: "
            "train and promote a new one"
        )
        raise invalid(EXPLAIN, rule, status=409)
    if n_rows > MAX_EXPLAINED_ROWS:
        rule = f"must have at most {MAX_EXPLAINED_ROWS} rows, has {n_rows}: send several requests"
        raise invalid(EXPLAIN, rule, status=413)
    return champion.explainer


def reason_to_omit(stored: list[Prediction], scored: list[Prediction]) -> str | None:
    """Return the reason why explanations do not apply to the stored rows, None if they do.

    Args:
        stored: The rows of the answer, which a retry has from its first attempt.
        scored: The same rows, scored and explained by the current champion.
    """
    pairs = zip(stored, scored, strict=True)
    if all((a.model_version, a.score) == (b.model_version, b.score) for a, b in pairs):
        return None
    first, current = stored[0].model_version, scored[0].model_version
    return (
        f"omitted: this is the answer to the first attempt, by version {first}; the champion is "
        f"version {current}"
    )
