"""Malformed lines of CSV, which Spark keeps in a column of their own."""

import csv
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from serving.errors import InputError
from serving.model.values import must_be, parse_text, quoted

# The column in which Spark keeps a line that does not fit the schema; null for all other lines.
MALFORMED_LINE = "malformed line"


def without_malformed_lines(
    batches: Iterable[pa.RecordBatch], features: list[str]
) -> Iterator[pa.RecordBatch]:
    """Yield batches without the column of malformed lines, if they have one.

    Raises:
        InputError: there is a malformed line.
    """
    for batch in batches:
        if MALFORMED_LINE not in batch.schema.names:
            yield batch
            continue
        lines, columns = batch[MALFORMED_LINE], batch.drop_columns([MALFORMED_LINE])
        for row in np.flatnonzero(lines.is_valid()).tolist():
            if rule := _broken_rule(lines[row].as_py(), columns, row, features):
                raise InputError(rule)
        yield columns


def _broken_rule(line: str, batch: pa.RecordBatch, row: int, features: list[str]) -> str:
    """Return the rule that a line breaks; row `row` of `batch` holds what Spark read of it.

    Empty if it has texts such as NA for missing numbers, which Spark takes for malformed.
    """
    (parsed,) = batch.slice(row, 1).to_pylist()
    values = next(csv.reader([line]))
    given = dict(zip(parsed, values, strict=False))
    for name in features:
        if parsed[name] is None and parse_text(given.get(name, "")) is not None:
            return f"column {name}, row {row}: {must_be('a number', given[name])}"
    if len(values) == len(parsed):
        return ""
    return wrong_length(line, row, len(parsed))


def wrong_length(line: str, row: int, n_columns: int) -> str:
    """Return the rule that a line with more or fewer values than the header breaks."""
    return f"row {row}: must have one value for each of {n_columns} columns, not {quoted(line)}"
