"""Conversion of raw tables to rows of features.

Every way into a model uses this module: the JSON of `/predict`, the data frames of MLflow's
scoring protocol, and the Arrow batches of Spark.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.errors import InputError, InvalidFieldsError, Violation
from serving.model.features import (
    MUST_BE_FINITE,
    MUST_NOT_BE_NULL,
    Feature,
    FeatureRows,
    Floats,
)
from serving.model.values import (
    LARGEST_EXACT,
    TOO_LARGE,
    InvalidValueError,
    Texts,
    is_inexact,
    must_be,
    parse_text,
)

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS = frozenset({int, float})
# Types of objects that numpy would convert to numbers of another meaning, such as days.
NON_NUMERIC_TYPES = (bytes, complex, np.complexfloating, np.datetime64, np.timedelta64)

# The position of each row's value among the distinct ones (-1 where missing), and those.
Distinct = tuple[npt.NDArray[np.int64], list[Any]]


class FeatureSchema:
    """The features of a model, in their order."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = tuple(features)
        self.names = [feature.name for feature in features]
        self._plain = [feature.name for feature in features if feature.is_plain]
        self._numeric = [feature for feature in features if feature.kind != "category"]
        self._nullable = np.array([feature.nullable for feature in self._numeric], bool)
        self._json_types = NUMBERS | {type(None)} if self._nullable.any() else NUMBERS

    @property
    def is_plain(self) -> bool:
        """Whether all features are plain numbers."""
        return len(self._plain) == len(self.features)

    def parse_columns(self, columns: Sequence[list[Any]]) -> FeatureRows:
        """Convert JSON values.

        Args:
            columns: One list for each feature, in their order, all of the same length.

        Raises:
            InvalidFieldsError: Names the first invalid value of each column.
        """
        if not self.is_plain:
            return self._parse_mixed(columns)
        values = list(chain.from_iterable(columns))
        types = set(map(type, values))
        if not types <= self._json_types:
            raise InvalidFieldsError(list(self._violations(columns)))
        by_feature = np.array(values, dtype=np.float64).reshape(len(columns), -1)
        if not np.isfinite(by_feature).all() and self._first_invalid(by_feature.T):
            raise InvalidFieldsError(list(self._violations(columns)))
        if int in types and _may_be_inexact(by_feature).any() and any(map(is_inexact, values)):
            raise InvalidFieldsError(list(self._violations(columns)))
        return FeatureRows(self.features, np.ascontiguousarray(by_feature.T), [])

    def parse_texts(self, columns: Sequence[Sequence[str]]) -> FeatureRows:
        """Convert the texts of a CSV file or a form, as `parse_columns`."""
        values: list[list[Any]] = [
            list(map(parse_text, column)) if feature.is_plain else list(column)
            for column, feature in zip(columns, self.features, strict=True)
        ]
        return self.parse_columns(values)

    def parse_frame(self, frame: pd.DataFrame) -> FeatureRows:
        """Convert a data frame with at least the feature columns, in any order.

        Raises:
            InputError: A feature is absent or there several times, or a value is of another kind,
                infinite, or missing although the training data had no missing values in its column.
        """
        self._check_names(frame.columns)
        columns = frame[self._plain]
        _check_number_types(columns)
        try:
            plain = columns.to_numpy(dtype=np.float64, na_value=np.nan).T
        except (TypeError, ValueError):
            raise _not_numeric(columns) from None
        self._check_exact(plain, lambda name, rows: frame[name].iloc[rows].tolist())
        return self._assemble(plain, lambda name: _distinct_in_series(frame[name]))

    def parse_batch(self, batch: "pa.RecordBatch") -> FeatureRows:
        """Convert an Arrow batch with at least the feature columns.

        Raises:
            InputError: As `parse_frame`.
        """
        import pyarrow as pa

        self._check_names(batch.schema.names)
        plain = np.empty((len(self._plain), batch.num_rows))
        for values, name in zip(plain, self._plain, strict=True):
            column = batch[name]
            if _has_another_meaning(column.type):
                raise _not_a_number(name, column.type)
            try:
                numbers = column.cast("double", safe=False)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise _not_a_number(name, column.type) from None
            values[:] = numbers.to_numpy(zero_copy_only=False)
        self._check_exact(plain, lambda name, rows: batch[name].take(rows).to_pylist())
        return self._assemble(plain, lambda name: _distinct_in_array(name, batch[name]))

    def _check_names(self, names: Iterable[Any]) -> None:
        """Check that each feature is once among the names of a table's columns.

        Raises:
            InputError: One is not.
        """
        counts = Counter(names)
        missing = [name for name in self.names if not counts[name]]
        if found := missing or [name for name in self.names if counts[name] > 1]:
            problem = "missing" if missing else "repeated"
            raise InputError(f"{problem} column{'s'[: len(found) > 1]} {', '.join(found)}")

    def _check_exact(
        self, plain: Floats, values: Callable[[str, npt.NDArray[np.int64]], list[Any]]
    ) -> None:
        """Check that no integer became another number in `plain`.

        Args:
            plain: The plain numbers of a table, shape (n_columns, n_rows).
            values: Function from a column and row numbers to the values in the table.

        Raises:
            InputError: One did.
        """
        suspicious = _may_be_inexact(plain)
        for place in np.flatnonzero(suspicious.any(axis=1)).tolist():
            name, rows = self._plain[place], np.flatnonzero(suspicious[place])
            for row, value in zip(rows.tolist(), values(name, rows), strict=True):
                if is_inexact(value):
                    raise InputError(f"column {name}, row {row}: {TOO_LARGE}")

    def _parse_mixed(self, columns: Sequence[list[Any]]) -> FeatureRows:
        numbers: list[list[Any]] = []
        categories: list[list[str | None] | Texts] = []
        try:
            for feature, column in zip(self.features, columns, strict=True):
                if feature.kind == "category":
                    categories.append(list(map(feature.parse, column)))
                elif feature.is_plain and set(map(type, column)) <= NUMBERS:
                    numbers.append(column)
                else:
                    numbers.append(list(map(feature.parse, column)))
        except InvalidValueError:
            raise InvalidFieldsError(list(self._violations(columns))) from None
        n_rows = len(columns[0])
        matrix = np.array(numbers, dtype=np.float64).reshape(len(numbers), n_rows).T
        rows = FeatureRows(self.features, np.ascontiguousarray(matrix), categories)
        invalid = self._first_invalid(rows.numbers) or self._first_missing_text(rows)
        if invalid or (_may_be_inexact(matrix).any() and self._has_inexact(columns)):
            raise InvalidFieldsError(list(self._violations(columns)))
        return rows

    def _has_inexact(self, columns: Sequence[list[Any]]) -> bool:
        features = zip(self.features, columns, strict=True)
        return any(any(map(is_inexact, column)) for feature, column in features if feature.is_plain)

    def _assemble(self, plain: Floats, distinct: Callable[[str], Distinct | Floats]) -> FeatureRows:
        """Return the rows of a table.

        Args:
            plain: Its plain numbers, shape (n_columns, n_rows).
            distinct: Function from any other feature to its values.

        Raises:
            InputError: As `parse_frame`.
        """
        by_feature: list[Floats] = []
        categories: list[list[str | None] | Texts] = []
        next_plain = iter(plain)
        for feature in self.features:
            if feature.is_plain:
                by_feature.append(next(next_plain))
                continue
            values = _canonical(feature, distinct(feature.name))
            if isinstance(values, Texts):
                categories.append(values)
            else:
                by_feature.append(values)
        columns = np.array(by_feature, dtype=np.float64).reshape(len(by_feature), plain.shape[1])
        numbers = np.ascontiguousarray(columns.T)
        rows = FeatureRows(self.features, numbers, categories)
        if invalid := self._first_invalid(numbers) or self._first_missing_text(rows):
            row, name, rule = invalid
            raise InputError(f"column {name}, row {row}: {rule}")
        return rows

    def _first_invalid(self, numbers: Floats) -> tuple[int, str, str] | None:
        """Return row, feature and broken rule of the first invalid value, infinities first."""
        if np.isfinite(numbers).all():
            return None
        for invalid, rule in (
            (np.isinf(numbers), MUST_BE_FINITE),
            (np.isnan(numbers) & ~self._nullable, MUST_NOT_BE_NULL),
        ):
            if invalid.any():
                row, column = np.argwhere(invalid)[0].tolist()
                return row, self._numeric[column].name, rule
        return None

    def _first_missing_text(self, rows: FeatureRows) -> tuple[int, str, str] | None:
        categories = [feature for feature in self.features if feature.kind == "category"]
        for feature, texts in zip(categories, rows.categories, strict=True):
            if not feature.nullable and (row := _first_missing(texts)) is not None:
                return row, feature.name, MUST_NOT_BE_NULL
        return None

    def _violations(self, columns: Sequence[list[Any]]) -> Iterator[Violation]:
        for feature, column in zip(self.features, columns, strict=True):
            for row, value in enumerate(column):
                if rule := feature.broken_rule(value):
                    yield Violation(feature.name, rule, row)
                    break


def _may_be_inexact(numbers: Floats) -> npt.NDArray[np.bool_]:
    """Return which numbers may be rounded integers; 2^53 may have been 2^53 + 1."""
    return np.abs(numbers) >= LARGEST_EXACT


def _first_missing(texts: list[str | None] | Texts) -> int | None:
    if isinstance(texts, Texts):
        missing = np.flatnonzero(texts.missing)
        return int(missing[0]) if len(missing) else None
    return texts.index(None) if None in texts else None


def _canonical(feature: Feature, values: Distinct | Floats) -> Texts | Floats:
    """Return the canonical values of a column, each distinct one converted once.

    Raises:
        InputError: A value breaks a rule.
    """
    if isinstance(values, np.ndarray):  # datetimes
        if feature.kind == "date":
            return values
        missing = np.isnan(values)
        found = [pd.Timestamp(value, unit="us") for value in values[~missing][:1]]
        values = np.where(missing, -1, 0), found
    codes, distinct = values
    parse, canonical = feature.parse, []
    for code, value in enumerate(distinct):
        try:
            canonical.append(parse(value))
        except InvalidValueError as error:
            rows = np.flatnonzero(codes == code)
            if len(rows):
                raise InputError(f"column {feature.name}, row {rows[0]}: {error}") from None
            canonical.append(None)  # a level that no row has
    if feature.kind == "category":
        return Texts(codes, canonical)
    return np.array([*canonical, None], dtype=np.float64)[codes]


def _distinct_in_series(series: "pd.Series[Any]") -> Distinct | Floats:
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        utc = pd.to_datetime(series, utc=True).dt.tz_localize(None)
        return _microseconds(utc.to_numpy("datetime64[us]"))
    try:
        codes, distinct = pd.factorize(series)
    except (TypeError, NotImplementedError):  # lists or dictionaries
        raise InputError(f"column {series.name}: must have single values") from None
    return codes, list(distinct)


def _distinct_in_array(name: str, array: "pa.Array") -> Distinct | Floats:
    import pyarrow as pa

    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return _microseconds(
            array.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
        )
    if pa.types.is_temporal(array.type):  # a duration, or a time without a date
        raise _not_supported(name, array.type)
    try:
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        raise _not_supported(name, array.type) from None
    codes = encoded.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.to_pylist()


def _microseconds(times: "npt.NDArray[np.datetime64]") -> Floats:
    return np.where(np.isnat(times), np.nan, times.astype(np.int64).astype(np.float64))


def _check_number_types(columns: pd.DataFrame) -> None:
    """Check that no column has values that numpy would convert to numbers of another meaning.

    Raises:
        InputError: A column has times, complex numbers or bytes.
    """
    for place, (name, dtype) in enumerate(columns.dtypes.items()):
        if dtype.kind not in "biuf" and (type_ := _non_numeric_type(columns.iloc[:, place])):
            raise _not_a_number(name, type_)


def _non_numeric_type(series: "pd.Series[Any]") -> str:
    """Return the name of a type that is converted to numbers of another meaning; empty if none."""
    is_categorical = isinstance(series.dtype, pd.CategoricalDtype)
    values = series.cat.categories if is_categorical else series
    if values.dtype.kind in "cmM":
        return str(values.dtype)
    types = set(map(type, values.to_numpy()))
    names = (type_.__name__ for type_ in types if issubclass(type_, NON_NUMERIC_TYPES))
    return min(names, default="")


def _has_another_meaning(type_: "pa.DataType") -> bool:
    """Return whether Arrow would convert values of a type to numbers of another meaning."""
    import pyarrow as pa

    of_values = type_.value_type if pa.types.is_dictionary(type_) else type_
    # Arrow's releases differ in their kinds of binary types, which all have it in their names.
    return pa.types.is_temporal(of_values) or "binary" in str(of_values)


def _not_a_number(name: Any, type_: Any) -> InputError:
    return InputError(f"column {name}: must have numbers, not {type_}")


def _not_supported(name: Any, type_: Any) -> InputError:
    return InputError(f"column {name}: values of type {type_} are not supported")


def _not_numeric(frame: pd.DataFrame) -> InputError:
    for name in frame:
        as_number = pd.to_numeric(frame[name], errors="coerce")
        invalid = np.flatnonzero(as_number.isna() & frame[name].notna())
        if len(invalid):
            row = int(invalid[0])
            return InputError(
                f"column {name}, row {row}: {must_be('a number', str(frame[name].iloc[row]))}"
            )
    return InputError("features: must be numbers")
