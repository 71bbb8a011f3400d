"""Windows of the prediction log: predictions of one model in a time range."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import sqlalchemy as sa

from serving.log.database.schema import predictions
from serving.log.queries import (
    Cursor,
    count_predictions,
    in_order,
    start_of_last,
    with_latest_label,
    within,
)
from serving.model.features import Feature
from steps.evaluation.metrics import Floats
from steps.monitoring.growing_columns import GrowingColumns, in_utc
from steps.monitoring.logged_features import Mask, typed_columns
from steps.prediction_log.arrow_tables import for_each_table, table_without_rows, times_of
from steps.prediction_log.feature_decoder import FeatureDecoder

logger = logging.getLogger("ml-pipes")

ROWS_PER_CHUNK = 2_000
ROWS_PER_PROGRESS_LINE = 250 * ROWS_PER_CHUNK
# Of more predictions, the features of one in k are decoded and kept in memory; these are at least
# half as many. With all of them, the expected PSI of a feature in unchanged traffic would be lower
# by less than 0.0001 (bins / rows).
MAX_FEATURE_ROWS = 250_000
# More periods would not be legible in the summary picture.
MAX_PERIODS = 12

# Columns of the log, and of a window.
READ = ("created_at", "run_id", "score", "label", "threshold", "features")
ROWS = ("created_at", "by_champion", "score", "alert", "labelled")
LABELLED = (
    "created_at", "by_champion", "score", "threshold", "true_label", "observed_at", "recorded_at",
)  # fmt: skip


@dataclass(frozen=True)
class Window:
    """Predictions of one model, oldest first.

    Attributes:
        rows: all predictions: created_at, by_champion (made by the present champion), score, alert
            (labelled 1 by the model), labelled (with ground truth).
        features: the features of `rows`, or of one in `sampling_step` of them, typed (see
            `steps.data.feature_frames`), with the index of `rows`. Predictions that were logged
            without a feature of the champion, or with a value that it cannot read, are left out.
            They have a frame of their own, as a feature may have any name.
        labelled: all predictions with ground truth: created_at, by_champion, score, threshold,
            true_label, observed_at, recorded_at (the times of that label).
        sampling_step: size of the groups of consecutive predictions of which `features` has a
            random one; 1 if it has all.
    """

    rows: pd.DataFrame
    features: pd.DataFrame
    labelled: pd.DataFrame
    sampling_step: int = 1

    def newer_than(self, time: datetime) -> "Window":
        """Return the predictions made after `time`, or labelled after it.

        Args:
            time: time of the last prediction, and of the last label, to leave out.
        """
        is_newer = self.rows["created_at"] > time
        newly_labelled = self.labelled["recorded_at"] > time
        return replace(
            self,
            rows=self.rows[is_newer],
            features=self.features[is_newer[self.features.index]],
            labelled=self.labelled[(self.labelled["created_at"] > time) | newly_labelled],
        )

    @property
    def count(self) -> int:
        """Number of predictions."""
        return len(self.rows)

    @property
    def champion_scores(self) -> Floats:
        """Scores by the present champion, shape (n_predictions,)."""
        scores: Floats = self.rows.loc[self.rows["by_champion"], "score"].to_numpy(np.float64)
        return scores


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
    columns = [predictions.c[name] for name in READ]
    query = with_latest_label(connection.dialect.name, columns)
    query = within(query, start, until).where(predictions.c.model_name == model_name)
    count = count_predictions(connection, model_name, start, until)
    with FeatureDecoder() as decoder:
        reader = _WindowReader(champion_run_id, features, decoder, count)
        reader.add(table_without_rows([*query.selected_columns]))
        for_each_table(connection, query.order_by(*in_order()), ROWS_PER_CHUNK, reader.add)
        return reader.window()


def rows_where(frame: pd.DataFrame, mask: "pd.Series[bool] | Mask") -> pd.DataFrame:
    """Return the rows of a frame for which `mask` is true; the frame itself if they are all."""
    return frame if mask.all() else frame[mask]


def periods_of(rows: pd.DataFrame, count: int) -> list[pd.DataFrame]:
    """Return `count` consecutive parts of `rows`, as equal in length as possible."""
    bounds = np.linspace(0, len(rows), count + 1).astype(int).tolist()
    return [rows.iloc[start:end] for start, end in pairwise(bounds)]


def sample_mask(places: npt.NDArray[np.int64], step: int) -> Mask:
    """Return whether a row is in a sample with a random one of each `step` consecutive rows.

    Every `step`-th row would not do: traffic may alternate, such as between two kinds of customers.

    Args:
        places: the numbers of the rows, from 0, shape (n_rows,).
        step: the number of rows of which one is in the sample.
    """
    groups, within = np.divmod(places, step)
    chosen: Mask = pd.util.hash_array(groups) % np.uint64(step) == within.astype(np.uint64)
    return chosen


class _WindowReader:
    """Collects a window from tables of the log."""

    def __init__(
        self,
        champion_run_id: str | None,
        features: Sequence[Feature],
        decoder: FeatureDecoder,
        expected: int,
    ) -> None:
        """Prepare for about `expected` predictions; while they are read, more may be logged."""
        self._run_id = champion_run_id
        self._features = features
        self._decoder = decoder
        self._rows, self._labelled = GrowingColumns(expected), GrowingColumns(expected)
        self._values = GrowingColumns(MAX_FEATURE_ROWS)
        self._has_features: list[Mask] = []
        self._step = max(1, math.ceil(expected / MAX_FEATURE_ROWS))
        self._sampled: list[pa.Table] = []  # not yet decoded
        self._places: list[npt.NDArray[np.int64]] = []  # of the sample among all rows

    def add(self, table: pa.Table) -> None:
        """Add the rows of a table, and the features of those rows that the sample keeps."""
        places = len(self._rows) + np.arange(len(table))
        is_chosen = sample_mask(places, self._step)
        self._sampled.append(table.select(["features"]).filter(pa.array(is_chosen)))
        self._places.append(places[is_chosen])
        # Decoding has a fixed cost per call.
        if sum(map(len, self._sampled)) >= ROWS_PER_CHUNK:
            self._add_sampled()
        others = table.drop_columns("features")
        self._add_rows(others)
        self._add_labelled(others.filter(others["true_label"].is_valid()))
        if len(table) and len(self._rows) % ROWS_PER_PROGRESS_LINE == 0:
            logger.info("%s predictions read", f"{len(self._rows):,}")

    def _add_sampled(self) -> None:
        logged = pa.concat_tables(self._sampled)["features"].combine_chunks()
        self._sampled.clear()
        values, has_features = typed_columns(logged, self._features, self._decoder)
        self._values.append(values, len(logged))
        self._has_features.append(has_features)

    def _add_rows(self, table: pa.Table) -> None:
        columns = {
            "created_at": times_of(table["created_at"]),
            "by_champion": self._by_champion(table),
            "score": table["score"].to_numpy(),
            "alert": table["label"].to_numpy() == 1,
            "labelled": _as_mask(table["true_label"].is_valid()),
        }
        self._rows.append(columns, len(table))

    def _add_labelled(self, table: pa.Table) -> None:
        columns = {
            "created_at": times_of(table["created_at"]),
            "by_champion": self._by_champion(table),
            "score": table["score"].to_numpy(),
            "threshold": table["threshold"].to_numpy(),
            "true_label": table["true_label"].to_numpy().astype(np.int8),
            "observed_at": times_of(table["observed_at"]),
            "recorded_at": times_of(table["recorded_at"]),
        }
        self._labelled.append(columns, len(table))

    def _by_champion(self, table: pa.Table) -> Mask:
        if self._run_id is None:
            return _as_mask(table["run_id"].is_null())
        return _as_mask(pa.compute.equal(table["run_id"], self._run_id).fill_null(False))

    def window(self) -> Window:
        """Return the window, once all tables have been added."""
        if self._sampled:
            self._add_sampled()
        rows, labelled = self._rows.frame(ROWS), self._labelled.frame(LABELLED)
        features = self._values.frame(feature.name for feature in self._features)
        features.index = pd.Index(np.concatenate(self._places))
        features = rows_where(features, np.concatenate(self._has_features))
        return Window(in_utc(rows), features, in_utc(labelled), self._step)


def _as_mask(values: pa.ChunkedArray) -> Mask:
    mask: Mask = values.to_numpy().astype(bool)
    return mask
