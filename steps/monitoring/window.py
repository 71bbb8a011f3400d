"""A window of the prediction log, read through its URL."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from serving.history import StoredPrediction, start_of_last, stream

log = logging.getLogger("ml-pipes")

ROWS_AT_ONCE = 10_000
# What is kept in memory; of more rows, each k-th. Labelled ones are all kept.
MOST_ROWS = 500_000
# Into how many periods a window is divided: more would not be legible.
MOST_PERIODS = 12


@dataclass(frozen=True)
class Window:
    """Predictions of one model, oldest first.

    Attributes:
        rows: created_at, model_version, score, and `features`.
        labelled: created_at, model_version, score, threshold, label (the true one) and
            observed_at of those whose outcome is known.
        features: names of the feature columns of `rows`; missing where a row was logged
            without them.
        count: how many predictions were made, kept in `rows` or not.
    """

    rows: pd.DataFrame
    labelled: pd.DataFrame
    features: list[str]
    count: int

    def after(self, moment: datetime) -> "Window":
        """Return what was predicted after `moment`."""
        rows, labelled = (
            frame[frame["created_at"] > moment].reset_index(drop=True)
            for frame in (self.rows, self.labelled)
        )
        share = len(rows) / max(len(self.rows), 1)
        return replace(self, rows=rows, labelled=labelled, count=round(self.count * share))

    @property
    def until(self) -> datetime | None:
        """When the last of them was made."""
        return None if self.rows.empty else self.rows["created_at"].iloc[-1].to_pydatetime()


def read_window(
    connection: sa.Connection,
    model_name: str,
    features: list[str],
    since: datetime | None,
    until: datetime | None,
    last: int | None,
) -> Window:
    """Return the predictions of `model_name` from `since` to before `until`, or the `last` ones."""
    if last is not None:
        since = start_of_last(connection, model_name, last)
    kept: list[pd.DataFrame] = []
    labelled: list[tuple[object, ...]] = []
    count, step = 0, 1
    for chunk in stream(connection, since, until, ROWS_AT_ONCE, model_name=model_name):
        kept.append(_frame(chunk[-count % step :: step], features))
        labelled += [_with_truth(row) for row in chunk if row.true_label is not None]
        count += len(chunk)
        if sum(map(len, kept)) > MOST_ROWS:
            step *= 2
            kept = [pd.concat(kept, ignore_index=True).iloc[::2]]
        if count % (50 * ROWS_AT_ONCE) == 0:
            log.info("%s predictions read", f"{count:,}")
    rows = pd.concat([_frame([], features), *kept], ignore_index=True)
    known = pd.DataFrame(labelled, columns=list(TRUTH))
    return Window(rows, known.astype(TRUTH), features, count)


TRUTH = {
    "created_at": "datetime64[us, UTC]",
    "model_version": "string",
    "score": "float64",
    "threshold": "float64",
    "label": "int64",
    "observed_at": "datetime64[us, UTC]",
}


def _with_truth(row: StoredPrediction) -> tuple[object, ...]:
    return (
        row.created_at,
        row.model_version,
        row.score,
        row.threshold,
        row.true_label,
        row.observed_at,
    )


def _frame(rows: list[StoredPrediction], features: list[str]) -> pd.DataFrame:
    own = {name: TRUTH[name] for name in ("created_at", "model_version", "score")}
    columns: dict[str, list[object]] = {name: [getattr(row, name) for row in rows] for name in own}
    for name in features:
        columns[name] = [(row.features or {}).get(name) for row in rows]
    return pd.DataFrame(columns).astype(own | dict.fromkeys(features, "float64"))
