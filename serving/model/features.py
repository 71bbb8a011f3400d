"""Features of a model, and rows of their values."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import isnan
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator

from serving.model.values import (
    InvalidValueError,
    Texts,
    ValueParser,
    date_text,
    value_parser,
)

Floats = npt.NDArray[np.float64]
Kind = Literal["number", "boolean", "category", "date"]

# The default name of the column of the callers' own ids.
ENTITY_ID = "id"

MUST_BE_FINITE = "must be finite"
MUST_NOT_BE_NULL = "must not be null: the training data had no missing values in this column"


def _as_feature_name(name: str) -> str:
    if not name or "\0" in name:
        raise ValueError("must be non-empty plain text")
    return name


@dataclass(frozen=True)
class Feature:
    """An input column.

    Attributes:
        name: The name of the column in the user's table; any text.
        kind: The kind of its values.
        nullable: Whether the splits had missing values in it.
        levels: Of a category, the levels in the training rows, the most frequent first, at most
            1,000. Of a boolean, the words for false and true; empty for true booleans.
        format: Of a date, the `strptime` format of the user's texts if they are not ISO 8601.
        has_time: Of a date, whether values have a time of day.
        text: Of a number, whether the user's table has it as text.
    """

    name: Annotated[str, AfterValidator(_as_feature_name)]
    kind: Kind = "number"
    nullable: bool = False
    levels: tuple[str, ...] = ()
    format: str = ""
    has_time: bool = False
    text: bool = False

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Return the feature that `dataclasses.asdict` gave; unknown keys are ignored."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        return cls(**values | {"levels": tuple(stored.get("levels", ()))})

    @property
    def is_plain(self) -> bool:
        """Whether values are numbers in the user's table, too."""
        return self.kind == "number" and not self.text

    @property
    def parse(self) -> ValueParser:
        """The function that converts a raw value to its canonical value."""
        return value_parser(self.kind, self.levels, self.format, self.text)

    @property
    def example(self) -> Any:
        """A raw value as callers may send it."""
        if self.kind == "number":
            return 0.0
        if self.kind == "date":
            return date_text(0.0, self.has_time)
        return self.levels[0] if self.levels else False if self.kind == "boolean" else "a"

    def broken_rule(self, value: Any) -> str | None:
        """Return the rule that a raw value breaks, None if it is valid."""
        try:
            canonical = self.parse(value)
        except InvalidValueError as error:
            return str(error)
        if canonical is None:
            return None if self.nullable else MUST_NOT_BE_NULL
        is_finite = self.kind != "number" or np.isfinite(canonical)
        return None if is_finite else MUST_BE_FINITE

    def to_logged(self, value: Any) -> Any:
        """Return a canonical value, not missing, as callers send it and the log stores it."""
        if self.kind in ("number", "category"):
            return value
        if self.kind == "date":
            return date_text(value, self.has_time)
        return self.levels[int(value)] if self.levels else bool(value)


@dataclass(slots=True)
class FeatureRows:
    """Valid rows of the features of a model.

    Attributes:
        features: The features, in the order of the model.
        numbers: The features other than categories, shape (n_rows, n_columns), NaN where missing:
            numbers, booleans as 0 and 1, and dates in microseconds since 1970 (UTC).
        categories: The texts of each category; a list if the rows are few.
    """

    features: tuple[Feature, ...]
    numbers: Floats
    categories: list[list[str | None] | Texts]

    def __len__(self) -> int:
        return len(self.numbers)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows by feature as the log stores them, None where a value is missing."""
        names = [feature.name for feature in self.features]
        if {feature.kind for feature in self.features} != {"number"}:
            return [
                dict(zip(names, row, strict=True))
                for row in zip(*self.logged_columns(), strict=True)
            ]
        rows: list[dict[str, Any]] = [
            dict(zip(names, row, strict=True)) for row in self.numbers.tolist()
        ]
        missing = np.isnan(self.numbers)
        if missing.any():
            for row, column in np.argwhere(missing):
                rows[row][names[column]] = None
        return rows

    def logged_columns(self) -> Iterator[list[Any]]:
        """Yield the values of each feature as the log stores them."""
        numbers, categories = iter(self.numbers.T.tolist()), iter(self.categories)
        for feature in self.features:
            if feature.kind == "category":
                yield list(next(categories))
            else:
                values = next(numbers)
                yield [None if isnan(value) else feature.to_logged(value) for value in values]
