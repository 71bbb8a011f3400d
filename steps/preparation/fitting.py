"""Encodings of features, fitted on rows of a split.

Categories with few levels get a column for each. Others become one column, the target rate of the
level, smoothed towards the rate of all rows; the rows that it is fitted on get rates from the other
folds, so that no row carries its own target (scikit-learn's `TargetEncoder`). See
docs/your-own-data.md for the measured difference.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import TargetEncoder

from serving.model.features import Feature, FeatureRows, Floats
from serving.model.preparation import DatePart, Encoding, date_part
from serving.model.schema import FeatureSchema
from serving.model.values import Texts
from steps.evaluation.metrics import Labels
from steps.preparation.column_names import column_names

# Of more levels, the target rate is as good as a column for each, and much smaller.
MAX_COLUMNS = 25
# Rarer levels share one value: their own would be noise.
MIN_LEVEL_ROWS = 10
FOLDS = 5
MISSING, RARE = -1, -2
PARTS: tuple[DatePart, ...] = ("year", "month", "day", "weekday", "hour")


@dataclass(frozen=True)
class FittedEncodings:
    """The encodings of features, and what they make of the rows that they were fitted on.

    Attributes:
        encodings: One for each feature.
        cross_fitted: The target rates of the rows of the fit, by feature, shape (n_rows,).
    """

    encodings: list[Encoding]
    cross_fitted: dict[str, Floats]


def fit_encodings(
    features: list[Feature],
    column: "Callable[[str], pd.Series[Any]]",
    y: Labels,
    seed: int,
) -> FittedEncodings:
    """Fit the encodings of features, of which one is in memory at a time.

    Args:
        features: The features.
        column: Returns the raw values of a feature in the rows to fit on, shape (n_rows,).
        y: The target, shape (n_rows,).
        seed: The random state of the folds.
    """
    names = column_names([feature.name for feature in features])
    encodings: list[Encoding] = []
    cross_fitted: dict[str, Floats] = {}
    for feature, name in zip(features, names, strict=True):
        if feature.kind == "category":
            (texts,) = _parsed(feature, column).categories
            assert isinstance(texts, Texts), "rows of a frame have them"
            encoding, rates = _fit_category(feature, name, texts, y, seed)
            if rates is not None:
                cross_fitted[feature.name] = rates
        elif feature.kind == "date":
            encoding = _fit_date(feature, name, _parsed(feature, column).numbers[:, 0])
        else:
            encoding = Encoding(feature.name, (name,))
        encodings.append(encoding)
    return FittedEncodings(_with_distinct_columns(encodings), cross_fitted)


def need_encodings(features: list[Feature]) -> bool:
    """Return whether engines refuse any feature, by its name or by its values, as it is."""
    names = [feature.name for feature in features]
    return names != column_names(names) or not all(map(_is_accepted, features))


def _is_accepted(feature: Feature) -> bool:
    # PyCaret and Spark take missing values in numbers only.
    return feature.kind == "number" or (feature.kind == "boolean" and not feature.nullable)


def _parsed(feature: Feature, column: "Callable[[str], pd.Series[Any]]") -> FeatureRows:
    """Return the canonical values of one feature."""
    rows = pd.DataFrame({feature.name: column(feature.name)})
    return FeatureSchema([replace(feature, nullable=True)]).parse_frame(rows)


def _fit_date(feature: Feature, name: str, microseconds: Floats) -> Encoding:
    """Encode the seconds, and those parts of the calendar that vary."""
    known = microseconds[~np.isnan(microseconds)]
    varying = [part for part in PARTS if len(np.unique(date_part(part, known))) > 1]
    parts: tuple[DatePart, ...] = ("seconds", *varying)
    return Encoding(feature.name, tuple(f"{name}_{part}" for part in parts), parts=parts)


def _fit_category(
    feature: Feature, name: str, texts: Texts, y: Labels, seed: int
) -> tuple[Encoding, Floats | None]:
    """Return the encoding of a category, and the cross-fitted target rates if it has such."""
    counts = _level_counts(texts)
    levels = sorted(counts, key=lambda level: (-counts[level], level))
    frequent = [level for level in levels if counts[level] >= MIN_LEVEL_ROWS]
    groups = {level: place for place, level in enumerate(frequent)}
    groups |= dict.fromkeys(levels[len(frequent) :], RARE)
    if len(frequent) <= MAX_COLUMNS:
        return _with_indicators(feature, name, groups), None
    return _with_target_rates(feature, name, groups, texts, y, seed)


def _level_counts(texts: Texts) -> dict[str, int]:
    """Return the number of rows of each level; several raw values may be the same level."""
    counts: dict[str, int] = defaultdict(int)
    rows = np.bincount(texts.codes[texts.codes >= 0], minlength=len(texts.distinct))
    for level, count in zip(texts.distinct, rows.tolist(), strict=True):
        if level is not None:
            counts[level] += count
    return counts


def _with_indicators(feature: Feature, name: str, groups: dict[str, int]) -> Encoding:
    """Encode a category as a column of 0 and 1 for each group of levels."""
    used = {*groups.values()} | ({MISSING} if feature.nullable else set())
    kinds = sorted(used, key=lambda kind: (kind < 0, abs(kind)))  # the most frequent level first
    width = len(kinds)
    row_of = dict(zip(kinds, np.eye(width).tolist(), strict=True))
    none = (0.0,) * width
    return Encoding(
        feature.name,
        tuple(f"{name}_{place}" for place in range(1, width + 1)),
        levels={level: tuple(row_of[group]) for level, group in groups.items()},
        missing=tuple(row_of.get(MISSING, none)),
        unseen=none,
    )


def _with_target_rates(
    feature: Feature, name: str, groups: dict[str, int], texts: Texts, y: Labels, seed: int
) -> tuple[Encoding, Floats]:
    """Encode a category as the smoothed target rate of each group of levels."""
    # The last entry is for code -1, a missing text.
    group_of = [MISSING if level is None else groups[level] for level in (*texts.distinct, None)]
    codes = np.array(group_of)[texts.codes]
    encoder = TargetEncoder(
        target_type="binary",
        cv=max(2, min(FOLDS, int(np.bincount(y).min()))),
        random_state=seed,
    )
    cross_fitted: Floats = encoder.fit_transform(codes.reshape(-1, 1), y)[:, 0]
    rates = dict(zip(encoder.categories_[0].tolist(), encoder.encodings_[0].tolist(), strict=True))
    prior = float(encoder.target_mean_)
    encoding = Encoding(
        feature.name,
        (name,),
        levels={level: (rates[group],) for level, group in groups.items()},
        missing=(rates.get(MISSING, prior),),
        unseen=(prior,),
    )
    return encoding, cross_fitted


def _with_distinct_columns(encodings: list[Encoding]) -> list[Encoding]:
    names = iter(column_names([column for encoding in encodings for column in encoding.columns]))
    return [
        replace(encoding, columns=tuple(next(names) for _ in encoding.columns))
        for encoding in encodings
    ]
