"""Columns of a request, the same rules for all routes: lists of equal length, or single values.

Columns that are not features are ignored.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from serving.errors import InputError, Violation
from serving.model.features import ENTITY_ID, FeatureRows
from serving.model.prediction import check_identifier
from serving.model.schema import FeatureSchema
from serving.web.json_body import MAX_VALUES
from serving.web.problems import InvalidRequestError, invalid

LARGE_INTEGERS = "an integer beyond 64 bits must be a string"

EntityId = str | int | None


@dataclass(slots=True)
class Rows:
    """Valid rows, and the entity id of each as sent."""

    features: FeatureRows
    sent_ids: list[EntityId]

    @property
    def entity_ids(self) -> list[str | None]:
        """The entity ids as they are stored."""
        return [None if sent is None else str(sent) for sent in self.sent_ids]


def check_entity_id(value: Any) -> None:
    """Check an id of the caller's own; no field precedes the error.

    Raises:
        InputError: it is not a string that can be stored, an integer of 64 bits, or null.
    """
    if value is None or type(value) is int:
        return
    if type(value) is float and abs(value) >= 2**63:  # as which JSON's larger integers are read
        raise InputError(LARGE_INTEGERS)
    if type(value) is not str:
        raise InputError("must be a string, an integer or null")
    try:
        check_identifier(ENTITY_ID, value)
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{ENTITY_ID}: ")) from None


class ColumnParser:
    """Parser for the columns of one model."""

    def __init__(self, schema: FeatureSchema, id_column: str, max_rows: int) -> None:
        self._schema = schema
        self.id_column = id_column
        self.names = schema.names
        self.max_rows = max_rows
        # Half of them may be of columns that are ignored.
        self.max_values = max(MAX_VALUES, 2 * max_rows * (len(self.names) + 1))
        # With a single name, itemgetter returns no tuple.
        self._pick = itemgetter(*self.names, self.names[0])

    def parse(self, content: Any) -> Rows:
        """Return the rows in `content`, an object of columns.

        Raises:
            InvalidFieldsError: names fields, rows and rules.
        """
        if not isinstance(content, dict):
            raise invalid("body", "must be a JSON object of columns")
        return self._parse(content, content.get(self.id_column), self._schema.parse_columns)

    def parse_texts(self, columns: dict[str, list[str]]) -> Rows:
        """Return the rows in columns of a CSV file or a form; a blank id is none.

        Raises:
            InvalidFieldsError: names fields, rows and rules.
        """
        ids = columns.get(self.id_column)
        sent_ids = None if ids is None else [text or None for text in ids]
        return self._parse(columns, sent_ids, self._schema.parse_texts)

    def _parse(
        self,
        content: dict[str, Any],
        ids: Any,
        parse: Callable[[Sequence[list[Any]]], FeatureRows],
    ) -> Rows:
        try:
            values = self._pick(content)[:-1]
        except KeyError:
            missing = [name for name in self.names if name not in content]
            raise InvalidRequestError([Violation(name, "is missing") for name in missing]) from None
        if list in set(map(type, values)):
            n_rows = self._check_lengths(values)
            columns = values
        else:
            n_rows, columns = 1, [[value] for value in values]
        return Rows(parse(columns), self._parse_ids(ids, n_rows))

    def check_row_count(self, n_rows: int) -> None:
        """Check that a request does not have too many rows.

        Raises:
            InvalidRequestError: it has.
        """
        if n_rows > self.max_rows:
            rule = f"must have at most {self.max_rows} rows, has {n_rows}: send several requests"
            raise invalid("body", rule, status=413)

    def _check_lengths(self, values: tuple[Any, ...]) -> int:
        """Return the number of rows of columns that are lists of equal length."""
        if set(map(type, values)) != {list}:
            raise InvalidRequestError(list(self._mixed_forms(values)))
        lengths = set(map(len, values))
        if len(lengths) > 1:
            raise InvalidRequestError(list(self._unequal_lengths(values)))
        (n_rows,) = lengths
        if not n_rows:
            raise invalid(self.names[0], "must have at least one row")
        self.check_row_count(n_rows)
        return n_rows

    def _mixed_forms(self, values: tuple[Any, ...]) -> Iterator[Violation]:
        """Yield the columns of the rarer form."""
        are_lists = [isinstance(value, list) for value in values]
        lists_expected = 2 * sum(are_lists) >= len(are_lists)
        form = "a list" if lists_expected else "a single value"
        for name, is_list in zip(self.names, are_lists, strict=True):
            if is_list != lists_expected:
                yield Violation(name, f"must be {form}, as other columns are")

    def _unequal_lengths(self, columns: tuple[list[Any], ...]) -> Iterator[Violation]:
        """Yield the columns of other than the most frequent length."""
        lengths = [len(column) for column in columns]
        ((n_rows, _),) = Counter(lengths).most_common(1)
        like = self.names[lengths.index(n_rows)]
        for name, length in zip(self.names, lengths, strict=True):
            if length != n_rows:
                yield Violation(name, f"has {length} rows, but {like} has {n_rows}")

    def _parse_ids(self, ids: Any, n_rows: int) -> list[EntityId]:
        if ids is None:
            return [None] * n_rows
        if not isinstance(ids, list):
            ids = [ids]
        if len(ids) != n_rows:
            raise invalid(self.id_column, f"must have one value for each of {n_rows} rows")
        for row, entity_id in enumerate(ids):
            try:
                check_entity_id(entity_id)
            except InputError as error:
                raise invalid(self.id_column, str(error), row) from None
        return ids
