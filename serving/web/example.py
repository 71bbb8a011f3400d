"""Worked example: two test rows of the champion."""

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from serving.model.manifest import Manifest

EXAMPLE = Path(__file__).parent / "two-rows.json"


@cache
def two_rows() -> dict[str, list[Any]]:
    """Return two transactions as columns, the first fraudulent, the second not."""
    columns: dict[str, list[Any]] = orjson.loads(EXAMPLE.read_bytes())
    return columns


def example_for(manifest: Manifest) -> dict[str, list[Any]]:
    """Return the example rows of a model; those of earlier releases have none of their own."""
    if manifest.example:
        return manifest.example
    if set(two_rows()) == {*(feature.name for feature in manifest.features), manifest.id_column}:
        return two_rows()
    example = {feature.name: [feature.example] * 2 for feature in manifest.features}
    return example | {manifest.id_column: ["a", "b"]}
