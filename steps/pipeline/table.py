"""From any table to three splits that are right: the schema at the border, and the split."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype
from sklearn.model_selection import train_test_split

from steps.pipeline.errors import DataError
from steps.pipeline.evaluation import FEWEST_ROWS_OF_A_CLASS

TRAINING_SHARE, VALIDATION_SHARE = 0.6, 0.2


@dataclass(frozen=True)
class SplitTable:
    """A checked table in three parts: feature columns as float64, the target as int64.

    `times` are those of the rows, by the index of the parts; None without a time column.
    """

    training: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    features: list[str]
    duplicates: int
    kind: str
    times: "pd.Series[Any] | None"

    @property
    def latest(self) -> dict[str, str]:
        """The last time in each part, as text; empty without a time column."""
        return {
            name: "" if self.times is None else str(self.times[part.index].max())
            for name, part in self.parts.items()
        }

    @property
    def parts(self) -> dict[str, pd.DataFrame]:
        """The three parts by the name of their MLflow context."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def split_table(
    table: arrow.Table, source: str, target: str, time_column: str, split: str, seed: int
) -> SplitTable:
    """Check `table`, drop repeated rows, and split it 60/20/20 by row count.

    Args:
        table: as it was read; duplicate column names are still there.
        source: its name in error messages.
        target: the column with 0 and 1.
        time_column: orders the rows and is no feature; may be absent.
        split: "temporal", "stratified", or "auto": temporal where the time column is there.
        seed: of the stratified split.

    Raises:
        DataError: the table does not fit; names source, column and rule.
    """
    frame = _checked(table, source, target, time_column)
    temporal = split == "temporal" or (split == "auto" and time_column in frame.columns)
    if temporal and time_column not in frame.columns:
        raise DataError(
            f"{source}: column {time_column or 'time_column'}: must be there for split=temporal; "
            "pass -P time_column=NAME or -P split=stratified"
        )
    rows = len(frame)
    frame = frame.drop_duplicates()
    features = [name for name in frame.columns if name not in (target, time_column)]
    if temporal:
        frame = frame.sort_values(time_column, kind="stable")
    frame = frame.reset_index(drop=True)
    times = frame[time_column] if time_column in frame.columns else None
    frame = frame[[*features, target]]
    parts = _temporal(frame) if temporal else _stratified(frame, target, seed, source)
    empty = parts[0][features].isna().all()
    if empty.any():
        raise DataError(
            f"{source}: column {empty.idxmax()}: must not be missing in every training row"
        )
    kind = "temporal" if temporal else "stratified"
    splits = SplitTable(*parts, features, rows - len(frame), kind, times)
    for name, part in splits.parts.items():
        positives = int(part[target].sum())
        fewest = FEWEST_ROWS_OF_A_CLASS[name]
        if min(positives, len(part) - positives) < fewest:
            raise DataError(
                f"{source}: column {target}: the {name} split must hold at least "
                f"{fewest} rows of each class, it holds {positives} of 1 and "
                f"{len(part) - positives} of 0"
            )
    return splits


def _checked(table: arrow.Table, source: str, target: str, time_column: str) -> pd.DataFrame:
    """Return `table` as a frame whose numbers are float64 and whose target is int64."""
    # What pandas noted of its index in a Parquet file is no column of the data, but for its name.
    table = table.replace_schema_metadata(None)
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{source}: column {twice[0]}: the name must be there only once")
    if len(names) == 1 and ";" in names[0]:
        raise DataError(f"{source}: the columns must be separated by commas, not semicolons")
    if target == time_column:
        raise DataError(
            f"{source}: column {target}: time_column must be another column than target; pass "
            "-P time_column=NAME, or an empty one"
        )
    if target not in names:
        raise DataError(
            f"{source}: column {target}: the target must be there; pass -P target=NAME "
            f"(the columns are {', '.join(names[:40])})"
        )
    if not table.num_rows:
        raise DataError(f"{source}: must hold rows, it is empty")
    frame = table.select(names).to_pandas(date_as_object=False)
    features = [name for name in names if name not in (target, time_column)]
    if not features:
        raise DataError(f"{source}: must hold a feature beside target and time")
    if unusual := [name for name in [*features, target] if not re.fullmatch(r"\w+", name, re.A)]:
        raise DataError(
            f"{source}: column {unusual[0]}: the name must consist of letters, digits and "
            "underscores, as the engines want it; rename it"
        )
    if "id" in features:
        raise DataError(f"{source}: column id: must be renamed, a served model takes the caller's")
    columns = {name: pa.Column(nullable=True, checks=FEATURE_RULES) for name in features}
    columns[target] = pa.Column(nullable=True, checks=TARGET_RULES)
    if time_column in names:
        columns[time_column] = pa.Column(nullable=True, checks=TIME_RULES)
    try:
        pa.DataFrameSchema(columns).validate(frame)
    except pa.errors.SchemaError as error:
        raise DataError(f"{source}: column {error.schema.name}: {error.check.error}") from None
    return frame.astype(dict.fromkeys(features, np.float64) | {target: np.int64})


def _rule(text: str, holds: Callable[["pd.Series[Any]"], bool]) -> pa.Check:
    return pa.Check(holds, error=text, ignore_na=False)


# Checked in this order, each on the whole column; the first that fails is reported.
FEATURE_RULES = [
    _rule("must be numeric", lambda s: is_numeric_dtype(s) or s.isna().all()),
    _rule("must not be missing in every row", lambda s: not s.isna().all()),
    _rule("must be finite", lambda s: not np.isinf(s.astype(np.float64)).any()),
]
TARGET_RULES = [
    _rule("the target must not be missing", lambda s: not s.isna().any()),
    _rule(
        "the target must be 0 or 1",
        lambda s: (is_numeric_dtype(s) or is_bool_dtype(s)) and bool(s.isin([0, 1]).all()),
    ),
    _rule("the target must have both classes, 0 and 1", lambda s: s.nunique() == 2),
]
TIME_RULES = [
    _rule("the time must not be missing", lambda s: not s.isna().any()),
    _rule(
        "the time must be a number or a timestamp",
        lambda s: is_numeric_dtype(s) or is_datetime64_any_dtype(s),
    ),
]


def _temporal(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    first, second = _boundaries(len(frame))
    return frame.iloc[:first], frame.iloc[first:second], frame.iloc[second:]


def _stratified(
    frame: pd.DataFrame, target: str, seed: int, source: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    first, second = _boundaries(len(frame))
    try:
        training, rest = train_test_split(
            frame, train_size=first, stratify=frame[target], random_state=seed
        )
        validation, test = train_test_split(
            rest, train_size=second - first, stratify=rest[target], random_state=seed
        )
    except ValueError as error:
        raise DataError(f"{source}: column {target}: too few rows to split: {error}") from None
    return training.sort_index(), validation.sort_index(), test.sort_index()


def _boundaries(rows: int) -> tuple[int, int]:
    """Return where validation and test begin."""
    return int(rows * TRAINING_SHARE), int(rows * (TRAINING_SHARE + VALIDATION_SHARE))
