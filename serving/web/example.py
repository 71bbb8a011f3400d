"""The worked example: two real transactions, the first a fraud, the second not."""

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from serving.scorer import Feature

EXAMPLE = Path(__file__).parent / "two-rows.json"


@cache
def two_rows() -> dict[str, list[Any]]:
    """Return the example as columns."""
    columns: dict[str, list[Any]] = orjson.loads(EXAMPLE.read_bytes())
    return columns


def example_for(features: tuple[Feature, ...]) -> dict[str, list[Any]]:
    """Return two rows that a model with `features` can score: the real ones if they fit it."""
    if {feature.name for feature in features} == set(two_rows()) - {"id"}:
        return two_rows()
    return {feature.name: [0.0, 0.0] for feature in features} | {"id": ["a", "b"]}
