"""Features of logged predictions as columns, decoded from JSON without an object for each value."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from serving.model.features import Feature
from serving.model.values import InvalidValueError
from steps.data.feature_frames import typed_values
from steps.prediction_log.feature_decoder import FeatureDecoder, count_others

Mask = npt.NDArray[np.bool_]


# Makes a column of the canonical values of a feature, each distinct one once, and their positions
# in it; -1 stands for a missing value.
MakeColumn = Callable[[Feature, list[Any], npt.NDArray[Any]], Any]


def typed_columns(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder
) -> tuple[dict[str, Any], Mask]:
    """Return features in the types of their kinds (see `columns_of`)."""
    return columns_of(logged, features, decoder, _typed)


def logged_columns(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder
) -> tuple[dict[str, Any], Mask]:
    """Return numbers as such, and other features as the log stores them (see `columns_of`)."""
    return columns_of(logged, features, decoder, _as_logged)


def columns_of(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder, make: MakeColumn
) -> tuple[dict[str, Any], Mask]:
    """Return logged features by name, and which rows have all of them, in values that can be read.

    What a row lacks, or has in another kind, is missing.

    Args:
        logged: The features of each prediction as JSON; null if it was logged without.
        features: The features of the champion.
        decoder: The decoder.
        make: Makes the columns of features that are no plain numbers.
    """
    columns: dict[str, Any] = {}
    present = np.ones(len(logged), bool)
    known = np.ones(len(logged), bool)
    plain, others = _split_plain(logged, features, decoder)
    for feature, numbers in plain:
        columns[feature.name] = numbers.to_numpy(zero_copy_only=False)
        present &= _is_valid(numbers)
    for feature, tokens in others:
        columns[feature.name], readable = _parsed(tokens, feature, make)
        present &= _is_valid(tokens)
        known &= readable
    if not present.all():  # null, or absent?
        places = np.flatnonzero(~present)
        names = [feature.name for feature in features]
        found = decoder.holds(logged.take(pa.array(places)), names)
        known[places] &= found.to_numpy(zero_copy_only=False)
    return {feature.name: columns[feature.name] for feature in features}, known


Decoded = list[tuple[Feature, pa.Array]]


def _split_plain(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder
) -> tuple[Decoded, Decoded]:
    """Return the features that are numbers in all rows with their values, the others as JSON."""
    plain = [feature for feature in features if feature.is_plain]
    others = _with_tokens(logged, [f for f in features if not f.is_plain], decoder)
    if count_others(logged) != sum(_count_non_numeric(tokens) for _, tokens in others):
        for feature, tokens in _with_tokens(logged, plain, decoder):
            if _count_non_numeric(tokens):
                plain.remove(feature)
                others.append((feature, tokens))
    numbers = decoder.numbers(logged, [feature.name for feature in plain])
    return list(zip(plain, numbers, strict=True)), others


def _with_tokens(logged: pa.Array, features: list[Feature], decoder: FeatureDecoder) -> Decoded:
    tokens = decoder.tokens(logged, [feature.name for feature in features])
    return list(zip(features, tokens, strict=True))


def _count_non_numeric(tokens: pa.Array) -> int:
    found = pa.compute.match_substring_regex(tokens, r"^[^\-0-9n]")
    return pa.compute.sum(found).as_py() or 0


def _is_valid(values: pa.Array) -> Mask:
    valid: Mask = values.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _parsed(tokens: pa.Array, feature: Feature, make: MakeColumn) -> tuple[Any, Mask]:
    """Return the values of a feature, each distinct one converted once, and which can be read."""
    encoded = tokens.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    distinct: list[Any] = []
    readable: list[bool] = []
    for token in encoded.dictionary.to_pylist():
        try:
            distinct.append(feature.parse(orjson.loads(token)))
            readable.append(True)
        except InvalidValueError:
            distinct.append(None)
            readable.append(False)
    # A code of -1, a missing value, takes the last place.
    is_readable = np.array([*readable, True])[codes]
    return make(feature, distinct, codes), is_readable


def _typed(feature: Feature, distinct: list[Any], codes: npt.NDArray[Any]) -> Any:
    if feature.kind == "category":
        return _categorical(distinct, codes)
    return typed_values(feature, np.array([*distinct, None], dtype=np.float64)[codes])


def _as_logged(feature: Feature, distinct: list[Any], codes: npt.NDArray[Any]) -> Any:
    if feature.kind == "number":
        return np.array([*distinct, None], dtype=np.float64)[codes]
    values = [None if value is None else feature.to_logged(value) for value in distinct]
    return np.array([*values, None], dtype=object)[codes]


def _categorical(distinct: list[str | None], codes: npt.NDArray[Any]) -> pd.Categorical:
    levels = sorted({text for text in distinct if text is not None})
    place = {text: number for number, text in enumerate(levels)} | {None: -1}
    places = np.array([*(place[text] for text in distinct), -1], dtype=np.int64)[codes]
    return pd.Categorical.from_codes(places, categories=pd.Index(levels, dtype=object))
