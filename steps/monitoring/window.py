"""A window of the prediction log, read through its URL."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from serving.history import Place, StoredPrediction, start_of_last, stream

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
        rows: created_at, own (whether the present champion made it), score, has_features
            (whether it was logged with all of them), and `features`.
        labelled: prediction_id, created_at, own, score, threshold, label (the true one) and
            observed_at of those whose outcome is known.
        features: names of the champion's features, which are columns of `rows`.
        count: how many predictions were made, kept in `rows` or not.
    """

    rows: pd.DataFrame
    labelled: pd.DataFrame
    features: list[str]
    count: int

    def since(self, moment: datetime, labelled_since: Collection[str]) -> "Window":
        """Return what is new since a moment: predictions, and earlier ones labelled since then.

        Args:
            moment: of the last that is not new.
            labelled_since: ids of predictions.
        """
        rows = self.rows[self.rows["created_at"] > moment]
        late = self.labelled["prediction_id"].isin(list(labelled_since))
        labelled = self.labelled[(self.labelled["created_at"] > moment) | late]
        share = len(rows) / max(len(self.rows), 1)
        return replace(
            self,
            rows=rows.reset_index(drop=True),
            labelled=labelled.reset_index(drop=True),
            count=round(self.count * share),
        )

    @property
    def until(self) -> datetime | None:
        """When the last of them was made."""
        return None if self.rows.empty else self.rows["created_at"].iloc[-1].to_pydatetime()


def read_window(
    connection: sa.Connection,
    model_name: str,
    champion_run_id: str | None,
    features: list[str],
    since: datetime | None,
    until: datetime | None,
    last: int | None,
) -> Window:
    """Return the predictions of `model_name` from `since` to before `until`, or the `last` ones.

    Args:
        connection: of the log.
        model_name: the registered model.
        champion_run_id: of the champion. A version's number tells less: a model that was deleted
            and made again begins at 1 again.
        features: the champion's.
        since: the earliest moment, if any.
        until: the moment after the last, if any.
        last: how many, instead of `since`.
    """
    start: datetime | Place | None = since
    if last is not None:
        start = start_of_last(connection, model_name, last)
    kept: list[pd.DataFrame] = []
    labelled: list[tuple[object, ...]] = []
    count, step = 0, 1
    for chunk in stream(connection, start, until, ROWS_AT_ONCE, model_name=model_name):
        kept.append(_frame(chunk[-count % step :: step], champion_run_id, features))
        labelled += [
            (
                row.prediction_id,
                row.created_at,
                row.run_id == champion_run_id,
                row.score,
                row.threshold,
                row.true_label,
                row.observed_at,
            )
            for row in chunk
            if row.true_label is not None
        ]
        count += len(chunk)
        if sum(map(len, kept)) > MOST_ROWS:
            step *= 2
            kept = [pd.concat(kept, ignore_index=True).iloc[::2]]
        if count % (50 * ROWS_AT_ONCE) == 0:
            log.info("%s predictions read", f"{count:,}")
    rows = pd.concat([_frame([], champion_run_id, features), *kept], ignore_index=True)
    known = pd.DataFrame(labelled, columns=list(LABELLED))
    return Window(rows, known.astype(LABELLED), features, count)


LABELLED = {
    "prediction_id": "string",
    "created_at": "datetime64[us, UTC]",
    "own": "bool",
    "score": "float64",
    "threshold": "float64",
    "label": "int64",
    "observed_at": "datetime64[us, UTC]",
}


def has_all(features: list[str], row: StoredPrediction) -> bool:
    """Tell whether a prediction was logged with all of `features`: other versions have others."""
    return row.features is not None and all(name in row.features for name in features)


def _frame(
    rows: list[StoredPrediction], champion_run_id: str | None, features: list[str]
) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "created_at": [row.created_at for row in rows],
        "own": [row.run_id == champion_run_id for row in rows],
        "score": [row.score for row in rows],
        "has_features": [has_all(features, row) for row in rows],
    }
    for name in features:
        columns[name] = [(row.features or {}).get(name) for row in rows]
    kinds = {name: LABELLED[name] for name in ("created_at", "own", "score")}
    kinds |= {"has_features": "bool"} | dict.fromkeys(features, "float64")
    return pd.DataFrame(columns).astype(kinds)
