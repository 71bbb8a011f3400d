"""Equal rows: whether they are one record, and which of them are kept."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.data.split_files import SplitFile
from steps.loading.checks import CheckedTable
from steps.loading.table import rows_of

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class KeptRows:
    """The rows that remain, and the target of all rows.

    Attributes:
        policy: "drop" if equal rows are one record, "keep" if they are independent.
        kept: of each row of the table, whether it is kept, shape (n_rows,).
        target: the target of each row of the table, shape (n_rows,).
    """

    policy: str
    kept: Mask
    target: npt.NDArray[np.int8]

    @property
    def dropped(self) -> int:
        """The number of rows that equal an earlier one and are dropped."""
        return int((~self.kept).sum())

    @property
    def rates(self) -> tuple[float, float]:
        """The shares of class 1 before and after."""
        return float(self.target.mean()), float(self.target[self.kept].mean())


def duplicates_policy(duplicates: str, table: CheckedTable) -> str:
    """Return "drop" or "keep" for the parameter `duplicates`.

    Equal rows with a time or the caller's key among what is equal are one record, recorded
    twice. Without them they may be different records, such as two people of the same age.
    """
    if duplicates != "auto":
        return duplicates
    return "drop" if {"time", "id"} & set(table.extras) else "keep"


def kept_rows(table: CheckedTable, duplicates: str) -> KeptRows:
    """Return the rows that are kept: all, or the first of equal ones in the source's order.

    Args:
        table: the table.
        duplicates: "auto", "drop" or "keep".
    """
    policy = duplicates_policy(duplicates, table)
    found = table.table.sql("SELECT CAST(target AS TINYINT) AS target FROM checked")
    target = found.fetchnumpy()["target"]
    kept = np.ones(len(target), bool)
    if policy == "drop":
        kept[_repeated(table)] = False
    return KeptRows(policy, kept, np.asarray(target, np.int8))


def share_in_training(table: CheckedTable, training: SplitFile, test: SplitFile) -> float:
    """Return the share of test rows whose features also occur in training."""
    keys = ", ".join(table.feature_keys)
    fitted, tested = (
        f"SELECT hash({keys}) AS h FROM {rows_of(split.file, table.feature_keys)}"
        for split in (training, test)
    )
    (share,) = table.table.row(
        f"WITH fitted AS (SELECT DISTINCT h FROM ({fitted})) "
        f"SELECT avg(CASE WHEN h IN (FROM fitted) THEN 1.0 ELSE 0.0 END) FROM ({tested})"
    )
    return float(share)


def _repeated(table: CheckedTable) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that equal an earlier one in all columns.

    Hashes find the candidates, so that DuckDB compares few rows in full.
    """
    keys = ", ".join(table.keys)
    table.table.session.connection.execute(
        "CREATE OR REPLACE TEMP TABLE repeated_hashes AS SELECT h FROM "
        f"(SELECT hash({keys}) AS h FROM checked) GROUP BY h HAVING count(*) > 1"
    )
    found = table.table.sql(
        f"SELECT row FROM (SELECT row, row_number() OVER (PARTITION BY {keys} ORDER BY row) AS n "
        f"FROM checked WHERE hash({keys}) IN (FROM repeated_hashes)) WHERE n > 1"
    )
    return np.asarray(found.fetchnumpy()["row"], np.int64)
