"""Division of a table into training, validation and test split."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.model_selection import train_test_split

from steps.data.row_keys import write_row_keys
from steps.data.split_files import SPLITS, SplitWriter, ValueDigest, WrittenSplits
from steps.data.splits import Splits, SplitsDescription
from steps.evaluation.leakage import leakage_suspects, single_aucs
from steps.evaluation.metrics import MIN_ROWS_PER_CLASS
from steps.loading.checks import CheckedTable, check
from steps.loading.column_table import described_columns
from steps.loading.duplicates import KeptRows, kept_rows, share_in_training
from steps.loading.rules import Rules
from steps.loading.table import Table
from steps.loading.target import Target
from steps.loading.training_rows import used_features
from steps.runtime.errors import DataError

TRAINING_SHARE, VALIDATION_SHARE = 0.6, 0.2
BATCH_ROWS = 100_000

Assignment = npt.NDArray[np.int8]


def split_table(table: Table, rules: Rules, folder: Path) -> Splits:
    """Check a table, apply the duplicates rule, and write its splits, 60/20/20 by row count.

    Args:
        table: the table as it was read.
        rules: the parameters.
        folder: an empty folder for the files.

    Raises:
        DataError: the table or a split breaks a rule.
    """
    checked = check(table, rules)
    kind = _kind(rules, table.source, has_time="time" in checked.extras)
    rows = kept_rows(checked, rules.duplicates)
    n_kept = int(rows.kept.sum())
    if kind == "temporal":
        splits = _temporal(n_kept)
    else:
        splits = _stratified(rows.target[rows.kept], rules, table.source)
    written = _write(checked, rows, splits, kind, rules, folder)
    _check_splits(written, table.source, checked.target, kind)
    features = used_features(table, written)
    aucs = single_aucs(written.splits["training"].file, features, rules.target)
    description = SplitsDescription.of(
        written,
        features,
        source=table.source,
        target=rules.target,
        time_column=rules.time_column,
        split=kind,
        duplicates=rows.dropped,
        equal_rows=rows.policy,
        positive_rates=rows.rates,
        classes=list(checked.target.classes),
        positive_because=checked.target.because,
        id_column=rules.id_column,
        columns=described_columns(checked, features, rules, aucs),
        leakage_suspects=leakage_suspects(aucs),
        repeated_in_test=_repeated_in_test(checked, rows, written),
    )
    description.write(folder)
    return Splits(folder)


def _kind(rules: Rules, source: str, has_time: bool) -> str:
    if rules.split == "temporal" and not has_time:
        raise DataError(
            f"{source}: time_column {rules.time_column!r} not found, but split=temporal needs it; "
            "pass -P time_column=NAME or -P split=stratified"
        )
    if rules.split == "auto":
        return "temporal" if has_time else "stratified"
    return rules.split


def _temporal(n_rows: int) -> Assignment:
    first, second = _boundaries(n_rows)
    return np.repeat(np.arange(3, dtype=np.int8), [first, second - first, n_rows - second])


def _stratified(target: npt.NDArray[np.int8], rules: Rules, source: str) -> Assignment:
    """Return the place of each row's split in SPLITS: a random one, with equal class shares."""
    first, second = _boundaries(len(target))
    assignment = np.zeros(len(target), np.int8)
    try:
        _, rest = train_test_split(
            np.arange(len(target)), train_size=first, stratify=target, random_state=rules.seed
        )
        validation, test = train_test_split(
            rest, train_size=second - first, stratify=target[rest], random_state=rules.seed
        )
    except ValueError:
        required = ", ".join(f"{rows} in {name}" for name, rows in MIN_ROWS_PER_CLASS.items())
        raise DataError(
            f"{source}: column {rules.target}: too few rows to split: {(target == 1).sum():,} of "
            f"class 1 and {(target == 0).sum():,} of class 0, but needed are of each {required}; "
            "provide more rows"
        ) from None
    assignment[validation], assignment[test] = 1, 2
    return assignment


def _boundaries(n_rows: int) -> tuple[int, int]:
    """Return the positions of the first validation row and the first test row."""
    return int(n_rows * TRAINING_SHARE), int(n_rows * (TRAINING_SHARE + VALIDATION_SHARE))


def _write(
    table: CheckedTable,
    rows: KeptRows,
    splits: Assignment,
    kind: str,
    rules: Rules,
    folder: Path,
) -> WrittenSplits:
    """Write the kept rows to the files of their splits."""
    writer = SplitWriter(folder, [profile.feature for profile in table.features], rules.target)
    adds_keys = rows.policy == "keep" and not table.extras
    content = ValueDigest([*table.feature_keys, "target"])
    done = 0
    try:
        for batch in _in_order(table, kind):
            if adds_keys:
                content.update(batch)
            kept = batch.filter(pa.array(rows.kept[batch["row"].to_numpy()])).drop_columns("row")
            places = splits[done : done + len(kept)]
            done += len(kept)
            for place, name in enumerate(SPLITS):
                writer.add(name, kept.filter(pa.array(places == place)))
    except BaseException:
        writer.abort()
        raise
    if adds_keys:
        write_row_keys(content.hexdigest(), splits, folder)
    return writer.close(rules.time_column, rules.id_column)


def _in_order(table: CheckedTable, kind: str) -> Iterator[pa.Table]:
    """Yield the rows in the order of the splits, with the columns of the files after `row`."""
    columns = ", ".join(["row", *table.feature_keys, "target", *table.extras])
    order = "ORDER BY time, row" if kind == "temporal" and not _is_ordered(table) else ""
    reader = table.table.sql(f"SELECT {columns} FROM checked {order}").to_arrow_reader(BATCH_ROWS)
    for batch in reader:
        yield pa.Table.from_batches([batch])


def _is_ordered(table: CheckedTable) -> bool:
    """Return whether the rows of the source are in the order of time: sorting takes long."""
    (late,) = table.table.row(
        "SELECT count(*) FROM (SELECT time, lag(time) OVER (ORDER BY row) AS before FROM checked) "
        "WHERE time < before"
    )
    return not late


def _repeated_in_test(table: CheckedTable, rows: KeptRows, written: WrittenSplits) -> float | None:
    """Return the share of test rows whose features also occur in training, if rows may be equal."""
    if rows.policy == "drop":
        return None
    return share_in_training(table, written.splits["training"], written.splits["test"])


def _check_splits(written: WrittenSplits, source: str, target: Target, kind: str) -> None:
    """Check that each split is large enough to fit on or to compute metrics on."""
    zero, one = target.classes
    names = "" if (zero, one) == ("0", "1") else f"; class 1 is {one!r}"
    remedy = ", or try -P split=stratified" if kind == "temporal" else ""
    for name, positives in written.positives.items():
        negatives = written.rows[name] - positives
        required = MIN_ROWS_PER_CLASS[name]
        if min(positives, negatives) < required:
            raise DataError(
                f"{source}: column {target.column.name}: the {name} split needs at least "
                f"{required} rows of each class, but has {positives} of class 1 and {negatives} "
                f"of class 0{names}; provide more rows{remedy}"
            )
