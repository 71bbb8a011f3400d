"""Windows of the prediction log: predictions of one model in a time range."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from serving.log.queries import Cursor, StoredPrediction, start_of_last, stream
from serving.model.features import Feature
from steps.data.feature_frames import concatenate, frame_of_logged

logger = logging.getLogger("ml-pipes")

ROWS_PER_CHUNK = 10_000
ROWS_PER_PROGRESS_LINE = 50 * ROWS_PER_CHUNK
# Of more predictions, every k-th is kept in memory. Labelled predictions are all kept.
MAX_ROWS = 500_000
# More periods would not be legible in the summary picture.
MAX_PERIODS = 12

LABELLED_TYPES = {
    "prediction_id": "string",
    "created_at": "datetime64[us, UTC]",
    "by_champion": "bool",
    "score": "float64",
    "threshold": "float64",
    "true_label": "int64",
    "observed_at": "datetime64[us, UTC]",
}
ROW_TYPES = {name: LABELLED_TYPES[name] for name in ("created_at", "by_champion", "score")} | {
    "has_features": "bool",
    "alert": "bool",
    "labelled": "bool",
}


@dataclass(frozen=True)
class Window:
    """Predictions of one model, oldest first.

    Attributes:
        rows: predictions, or an even sample of them: created_at, by_champion (made by the present
            champion), score, has_features (logged with all features of the champion, in values that
            it can read), alert (labelled 1 by the model), labelled (with ground truth).
        features: the features of `rows`, typed (see `steps.data.feature_frames`). They have a frame
            of their own, as a feature may have any name.
        labelled: all predictions with ground truth: prediction_id, created_at, by_champion, score,
            threshold, true_label, observed_at.
        count: number of predictions, including those left out of `rows`.
    """

    rows: pd.DataFrame
    features: pd.DataFrame
    labelled: pd.DataFrame
    count: int

    def newer_than(self, time: datetime, labelled_since: Collection[str]) -> "Window":
        """Return the predictions made after `time`, or labelled after it.

        Args:
            time: time of the last prediction to leave out.
            labelled_since: ids of predictions whose label was recorded after `time`.
        """
        is_newer = self.rows["created_at"] > time
        rows = self.rows[is_newer]
        newly_labelled = self.labelled["prediction_id"].isin(list(labelled_since))
        labelled = self.labelled[(self.labelled["created_at"] > time) | newly_labelled]
        share = len(rows) / max(len(self.rows), 1)
        return replace(
            self,
            rows=rows.reset_index(drop=True),
            features=self.features[is_newer].reset_index(drop=True),
            labelled=labelled.reset_index(drop=True),
            count=round(self.count * share),
        )

    @property
    def measured_features(self) -> pd.DataFrame:
        """The features of those rows that have all."""
        return self.features[self.rows["has_features"]]

    @property
    def until(self) -> datetime | None:
        """Time of the last prediction; None if there is none."""
        return None if self.rows.empty else self.rows["created_at"].iloc[-1].to_pydatetime()


def read_window(
    connection: sa.Connection,
    model_name: str,
    champion_run_id: str | None,
    features: Sequence[Feature],
    since: datetime | None,
    until: datetime | None,
    last: int | None,
) -> Window:
    """Read the predictions of a model from `since` to before `until`, or the `last` ones.

    Args:
        connection: connection to the log.
        model_name: name of the registered model.
        champion_run_id: run of the champion. Version numbers are ambiguous: a model that is
            deleted and registered again restarts at version 1.
        features: the champion's features.
        since: start of the time range, inclusive.
        until: end of the time range, exclusive.
        last: number of predictions, instead of `since`.
    """
    start: datetime | Cursor | None = since
    if last is not None:
        start = start_of_last(connection, model_name, last)
    kept = [_rows([], champion_run_id, features)]
    labelled = [_labelled_frame([], champion_run_id)]
    count, step = 0, 1
    for chunk in stream(connection, start, until, ROWS_PER_CHUNK, model_name=model_name):
        kept.append(_rows(chunk[-count % step :: step], champion_run_id, features))
        labelled.append(_labelled_frame(chunk, champion_run_id))
        count += len(chunk)
        if sum(len(rows) for rows, _ in kept) > MAX_ROWS:
            step *= 2
            rows, values = _joined(kept)
            kept = [(rows.iloc[::2], values.iloc[::2])]
        if count % ROWS_PER_PROGRESS_LINE == 0:
            logger.info("%s predictions read", f"{count:,}")
    return Window(*_joined(kept), pd.concat(labelled, ignore_index=True), count)


def _rows(
    rows: list[StoredPrediction], champion_run_id: str | None, features: Sequence[Feature]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows and their features (see `Window`)."""
    values, has_features = frame_of_logged([row.features for row in rows], features)
    columns: dict[str, object] = {
        "created_at": [row.created_at for row in rows],
        "by_champion": [row.run_id == champion_run_id for row in rows],
        "score": [row.score for row in rows],
        "has_features": has_features,
        "alert": [row.label == 1 for row in rows],
        "labelled": [row.true_label is not None for row in rows],
    }
    return pd.DataFrame(columns).astype(ROW_TYPES), values


def _joined(parts: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, values = zip(*parts, strict=True)
    return pd.concat(rows, ignore_index=True), concatenate(values)


def _labelled_frame(chunk: list[StoredPrediction], champion_run_id: str | None) -> pd.DataFrame:
    rows = [row for row in chunk if row.true_label is not None]
    columns = {
        name: [getattr(row, name) for row in rows]
        for name in LABELLED_TYPES
        if name != "by_champion"
    }
    columns["by_champion"] = [row.run_id == champion_run_id for row in rows]
    return pd.DataFrame(columns, columns=list(LABELLED_TYPES)).astype(LABELLED_TYPES)
