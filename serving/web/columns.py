"""The body of `POST /predict`, read strictly: columns as lists, or single values for one row."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from serving.errors import InputError
from serving.prediction import check_key
from serving.scorer import Manifest
from serving.web.problems import InvalidRequestError, Violation, invalid

ID = "id"
NUMBERS = {int, float}
NUMBERS_AND_NULL = {int, float, type(None)}

Key = str | int | None


@dataclass(slots=True)
class Rows:
    """Valid rows: features of shape (n_rows, n_features), and the caller's id of each row as
    it was sent.
    """

    matrix: npt.NDArray[np.float64]
    keys: list[Key]

    @property
    def entity_ids(self) -> list[str | None]:
        """The ids as they are stored."""
        return [None if key is None else str(key) for key in self.keys]


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        InvalidRequestError: there is none.
    """
    if not body:
        raise invalid("body", "must not be empty", status=400)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"must be JSON: {error}", status=400) from None
    if not isinstance(content, dict):
        raise invalid("body", "must be a JSON object of columns")
    return content


class ColumnReader:
    """Reads the features of one model."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        self._features = manifest.features
        self._names = [feature.name for feature in manifest.features]
        self._nullable = np.array([feature.nullable for feature in manifest.features])
        # Of one name, itemgetter returns no tuple.
        self._pick = itemgetter(*self._names, self._names[0])
        self._max_rows = max_rows

    def read(self, content: dict[str, Any]) -> Rows:
        """Return the rows in `content`.

        Raises:
            InvalidRequestError: names fields, rows and rules.
        """
        try:
            values = self._pick(content)[:-1]
        except KeyError:
            raise InvalidRequestError(list(self._wrong_names(content))) from None
        if len(content) != len(values) + (ID in content):
            raise InvalidRequestError(list(self._wrong_names(content)))
        kinds = set(map(type, values))
        if list in kinds:
            kinds = self._kinds_of_columns(kinds, content)
        elif not kinds <= NUMBERS_AND_NULL:
            raise InvalidRequestError(list(self._wrong_values(content)))
        if not kinds <= (NUMBERS if not self._nullable.any() else NUMBERS_AND_NULL):
            raise InvalidRequestError(list(self._wrong_values(content)))
        matrix = np.array(values, dtype=np.float64).reshape(len(values), -1)
        if not np.isfinite(matrix).all() and self._is_wrong(matrix):
            raise InvalidRequestError(list(self._wrong_values(content)))
        matrix = np.ascontiguousarray(matrix.T)
        return Rows(matrix, self._keys(content.get(ID), len(matrix)))

    def check_length(self, n_rows: int) -> None:
        """Check that a request has not too many rows.

        Raises:
            InvalidRequestError: it has.
        """
        if n_rows > self._max_rows:
            rule = f"must have at most {self._max_rows} rows, has {n_rows}: send several requests"
            raise invalid("body", rule, status=413)

    def _kinds_of_columns(self, kinds: set[type], content: dict[str, Any]) -> set[type]:
        """Return the types in columns of equal length."""
        if len(kinds) > 1:
            raise InvalidRequestError(list(self._mixed_forms(content)))
        columns = self._pick(content)[:-1]
        lengths = set(map(len, columns))
        if len(lengths) > 1:
            raise InvalidRequestError(list(self._ragged(content)))
        (n_rows,) = lengths
        if not n_rows:
            raise invalid(self._names[0], "must have at least one row")
        self.check_length(n_rows)
        return set(map(type, chain.from_iterable(columns)))

    def _is_wrong(self, matrix: npt.NDArray[np.float64]) -> bool:
        """Tell whether a matrix of shape (n_features, n_rows) has infinities, or gaps where the
        model has never seen one.
        """
        return bool((np.isinf(matrix) | (np.isnan(matrix) & ~self._nullable[:, None])).any())

    def _keys(self, keys: Any, n_rows: int) -> list[Key]:
        if keys is None:
            return [None] * n_rows
        if not isinstance(keys, list):
            keys = [keys]
        if len(keys) != n_rows:
            raise invalid(ID, f"must have one value for each of {n_rows} rows")
        for row, key in enumerate(keys):
            if key is None or type(key) is int:
                continue
            if type(key) is not str:
                raise invalid(ID, "must be a string, an integer or null", row)
            try:
                check_key(ID, key)
            except InputError as error:
                raise invalid(ID, str(error).removeprefix(f"{ID}: "), row) from None
        return keys

    # --- Below, only once something is known to be wrong

    def _wrong_names(self, content: dict[str, Any]) -> Iterator[Violation]:
        for name in self._names:
            if name not in content:
                yield Violation(name, "is missing")
        for name in content:
            if name != ID and name not in self._names:
                yield Violation(name[:100], "is no feature of this model")

    def _mixed_forms(self, content: dict[str, Any]) -> Iterator[Violation]:
        for name in self._names:
            if not isinstance(content[name], list):
                yield Violation(name, "must be a list, as other columns are")

    def _ragged(self, content: dict[str, Any]) -> Iterator[Violation]:
        n_rows = len(content[self._names[0]])
        for name in self._names:
            if len(content[name]) != n_rows:
                rule = f"must have {n_rows} rows as {self._names[0]}, has {len(content[name])}"
                yield Violation(name, rule)

    def _wrong_values(self, content: dict[str, Any]) -> Iterator[Violation]:
        """Yield the first wrong value of each column."""
        for feature in self._features:
            column = content[feature.name]
            for row, value in enumerate(column if isinstance(column, list) else [column]):
                if rule := _broken_rule(value, feature.nullable):
                    yield Violation(feature.name, rule, row)
                    break


def _broken_rule(value: Any, nullable: bool) -> str | None:
    if value is None:
        rule = "must not be null (it never was in the data of this model)"
        return None if nullable else rule
    if type(value) not in NUMBERS:
        kinds = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}
        return f"must be a number, not {kinds[type(value)]}"
    return None if np.isfinite(float(value)) else "must be finite"
