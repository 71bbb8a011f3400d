"""Decoding of logged features from JSON to Arrow arrays, in DuckDB."""

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute

# A text as the value of a key, and a value that is neither a number nor null. They may also find a
# key that begins with a colon, but miss nothing.
TEXT_VALUE = r'":\s*"'
OTHER_VALUE = r'":\s*[^\s\-0-9n]'


class FeatureDecoder:
    """Decodes features of many rows at once; used by one thread."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def numbers(self, features: pa.Array, names: Sequence[str]) -> list[pa.Array]:
        """Return the values of numbers, null where missing; booleans are 0 and 1.

        Args:
            features: the features of each row as JSON, or null.
            names: the features to decode, none of which is a text in any row.
        """
        return self._decoded(features, names, "DOUBLE")

    def tokens(self, features: pa.Array, names: Sequence[str]) -> list[pa.Array]:
        """Return the values of features as JSON, null where missing."""
        return self._decoded(features, names, "JSON")

    def holds(self, features: pa.Array, names: Sequence[str]) -> pa.Array:
        """Return whether each row has all features; a missing value is one, too."""
        query = "SELECT list_has_all(json_keys(features), $1) FROM rows"
        self._connection.register("rows", pa.table({"features": features}))
        found = self._connection.sql(query, params=[list(names)]).to_arrow_table()
        return found.column(0).combine_chunks().fill_null(False)

    def _decoded(self, features: pa.Array, names: Sequence[str], type_: str) -> list[pa.Array]:
        if not names:
            return []
        groups = _without_equal_names(names)
        rows = pa.table({"features": features})
        calls = ", ".join(f"json_transform(features, ${place + 1})" for place in range(len(groups)))
        structures = [json.dumps(dict.fromkeys(group, type_)) for group in groups]
        query = f"SELECT {calls} FROM rows"  # noqa: S608
        self._connection.register("rows", rows)
        found = self._connection.sql(query, params=structures).to_arrow_table()
        arrays: dict[str, pa.Array] = {}
        for group, column in zip(groups, found.columns, strict=True):
            arrays |= zip(group, column.combine_chunks().flatten(), strict=True)
        return [arrays[name] for name in names]


def _without_equal_names(names: Sequence[str]) -> list[list[str]]:
    """Divide names so that those of a group differ without regard to case, as DuckDB requires."""
    groups: list[dict[str, str]] = []
    for name in names:
        folded = name.casefold()
        group = next((group for group in groups if folded not in group), None)
        if group is None:
            groups.append(group := {})
        group[folded] = name
    return [list(group.values()) for group in groups]


def count_texts(features: pa.Array) -> int:
    """Return at least as many as there are texts among all values of logged features."""
    return _count(features, TEXT_VALUE)


def count_others(features: pa.Array) -> int:
    """Return at least as many as there are values other than numbers and null."""
    return _count(features, OTHER_VALUE)


def _count(features: pa.Array, pattern: str) -> int:
    return pa.compute.sum(pa.compute.count_substring_regex(features, pattern)).as_py() or 0


def is_text(tokens: pa.Array) -> pa.Array:
    """Return whether each value in JSON is a text, null where missing."""
    return pa.compute.starts_with(tokens, '"')


def as_texts(tokens: pa.Array) -> pa.Array:
    """Return values in JSON as texts; those of other kinds as Python writes them."""
    encoded = tokens.dictionary_encode()
    texts = [_as_text(orjson.loads(token)) for token in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
