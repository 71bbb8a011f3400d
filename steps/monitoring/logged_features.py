"""Features of logged predictions as typed columns, decoded from JSON without a Python object each.

The values are those of `steps.data.feature_frames.frame_of_logged`.
"""

from collections.abc import Sequence
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


def typed_columns(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder
) -> tuple[dict[str, Any], Mask]:
    """Return logged features by name, and which rows have all of them, in values that can be read.

    What a row lacks, or has in another kind, is missing.

    Args:
        logged: The features of each prediction as JSON; null if it was logged without.
        features: The features of the champion.
        decoder: The decoder.
    """
    columns: dict[str, Any] = {}
    present = np.ones(len(logged), bool)
    known = np.ones(len(logged), bool)
    plain, others = _divided(logged, features, decoder)
    for feature, numbers in plain:
        columns[feature.name] = numbers.to_numpy(zero_copy_only=False)
        present &= _is_valid(numbers)
    for feature, tokens in others:
        columns[feature.name], readable = _parsed(tokens, feature)
        present &= _is_valid(tokens)
        known &= readable
    if not present.all():  # null, or absent?
        places = np.flatnonzero(~present)
        names = [feature.name for feature in features]
        found = decoder.holds(logged.take(pa.array(places)), names)
        known[places] &= found.to_numpy(zero_copy_only=False)
    return {feature.name: columns[feature.name] for feature in features}, known


Decoded = list[tuple[Feature, pa.Array]]


def _divided(
    logged: pa.Array, features: Sequence[Feature], decoder: FeatureDecoder
) -> tuple[Decoded, Decoded]:
    """Return the features that are numbers in all rows with their values, the others as JSON."""
    plain = [feature for feature in features if feature.is_plain]
    others = _with_tokens(logged, [f for f in features if not f.is_plain], decoder)
    if count_others(logged) != sum(_count_others(tokens) for _, tokens in others):
        for feature, tokens in _with_tokens(logged, plain, decoder):
            if _count_others(tokens):
                plain.remove(feature)
                others.append((feature, tokens))
    numbers = decoder.numbers(logged, [feature.name for feature in plain])
    return list(zip(plain, numbers, strict=True)), others


def _with_tokens(logged: pa.Array, features: list[Feature], decoder: FeatureDecoder) -> Decoded:
    tokens = decoder.tokens(logged, [feature.name for feature in features])
    return list(zip(features, tokens, strict=True))


def _count_others(tokens: pa.Array) -> int:
    found = pa.compute.match_substring_regex(tokens, r"^[^\-0-9n]")
    return pa.compute.sum(found).as_py() or 0


def _is_valid(values: pa.Array) -> Mask:
    valid: Mask = values.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _parsed(tokens: pa.Array, feature: Feature) -> tuple[Any, Mask]:
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
    if feature.kind == "category":
        return _categorical(distinct, codes), is_readable
    values = np.array([*distinct, None], dtype=np.float64)[codes]
    return typed_values(feature, values), is_readable


def _categorical(distinct: list[str | None], codes: npt.NDArray[Any]) -> pd.Categorical:
    levels = sorted({text for text in distinct if text is not None})
    place = {text: number for number, text in enumerate(levels)} | {None: -1}
    places = np.array([*(place[text] for text in distinct), -1], dtype=np.int64)[codes]
    return pd.Categorical.from_codes(places, categories=pd.Index(levels, dtype=object))
