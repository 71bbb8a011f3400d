"""Facts about features that the training rows determine."""

from dataclasses import replace

from serving.model.features import Feature
from steps.data.split_files import WrittenSplits
from steps.loading.table import Table, rows_of

# The service lists levels, and monitoring compares their shares; rarer ones are of no use there.
MAX_LEVELS = 1_000


def used_features(table: Table, written: WrittenSplits) -> list[Feature]:
    """Return the features that vary in the training rows, with their levels."""
    training = written.splits["training"]
    keys = [f"c{place}" for place in range(len(training.features))]
    rows = rows_of(training.file, keys)
    tests = ", ".join(f"count({key}), min({key}), max({key})" for key in keys)
    found = table.row(f"SELECT {tests} FROM {rows}")
    features = []
    for place, (feature, key) in enumerate(zip(written.features, keys, strict=True)):
        known, low, high = found[3 * place : 3 * place + 3]
        if not known or (low == high and known == training.rows):
            continue
        if feature.kind == "category":
            feature = replace(feature, levels=_levels(table, rows, key))
        elif feature.kind == "date":
            feature = replace(feature, has_time=_has_time(table, rows, key))
        features.append(feature)
    return features


def _levels(table: Table, rows: str, key: str) -> tuple[str, ...]:
    """Return the levels, the most frequent first."""
    found = table.sql(
        f"SELECT {key} FROM {rows} WHERE {key} IS NOT NULL GROUP BY {key} "
        f"ORDER BY count(*) DESC, {key} LIMIT {MAX_LEVELS}"
    )
    return tuple(level for (level,) in found.fetchall())


def _has_time(table: Table, rows: str, key: str) -> bool:
    (found,) = table.row(f"SELECT bool_or({key} <> date_trunc('day', {key})) FROM {rows}")
    return bool(found)
