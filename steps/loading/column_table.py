"""The table of all columns of a source: kind, missing values, levels, and use."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from serving.model.features import Feature
from steps.data.row_keys import ROW_KEY
from steps.loading.checks import CheckedTable
from steps.loading.rules import Rules

WIDTH, COLUMN_WIDTH, MAX_SHOWN = 100, 32, 40
# So many equal columns in succession share a row.
SHARED = 3
NOT_IN_TRAINING = "left out: it does not vary in the training rows"


def described_columns(
    checked: CheckedTable, features: list[Feature], rules: Rules, aucs: dict[str, float]
) -> list[dict[str, Any]]:
    """Return what is known of each column, in the table's order.

    Args:
        checked: the table.
        features: the features.
        rules: the parameters.
        aucs: the AUC of each feature on its own.

    Returns:
        Name, kind, missing share, levels, use, and the AUC of a feature, None of others.
    """
    used = {feature.name for feature in features}
    profiles = {profile.typed.column.name: profile for profile in checked.profiles}
    rows, described = checked.table.rows, []
    uses = {
        ROW_KEY: ("key", "identifies rows of a retraining"),
        rules.id_column: ("id", "your key of each row, no feature"),
        rules.time_column: ("time", "orders the rows, no feature"),
        rules.target: ("target", f"class 1 is {checked.target.classes[1]!r}"),
    }
    for name in checked.table.names:
        if name in profiles:
            profile = profiles[name]
            kind, becomes = profile.kind, profile.becomes
            if profile.is_feature and name not in used:
                kind, becomes = "constant", NOT_IN_TRAINING
            missing, levels = profile.missing / rows, profile.levels
        else:
            kind, becomes = uses[name]
            missing = _missing_ids(checked) / rows if kind == "id" else 0.0
            levels = 2 if name == rules.target else None
        column = {"name": name, "kind": kind, "missing": missing, "levels": levels}
        described.append(column | {"becomes": becomes, "auc": aucs.get(name)})
    return described


def _missing_ids(checked: CheckedTable) -> int:
    """Return the number of rows without an id; target and time are never missing."""
    (missing,) = checked.table.row("SELECT count(*) - count(id) FROM checked")
    return int(missing)


def format_columns(columns: Sequence[dict[str, Any]]) -> str:
    """Return the table as aligned text: at most 40 rows, at most 100 characters wide.

    Three or more columns in succession that differ in nothing but a number in the name share a row.
    """
    runs = [list(run) for _, run in groupby(columns, _without_number)]
    shared = [
        part for run in runs for part in ([run] if len(run) >= SHARED else [[one] for one in run])
    ]
    shown = _most_telling(shared)
    rows = [
        {
            "column": _names(run),
            "kind": run[0]["kind"],
            "missing": f"{run[0]['missing']:.1%}" if run[0]["missing"] else "",
            "levels": "" if run[0]["levels"] is None else f"{run[0]['levels']:,}",
            "what happens": run[0]["becomes"],
        }
        for run in shown
    ]
    widths = {"column": COLUMN_WIDTH, "kind": 11, "missing": 7, "levels": 7}
    widths |= {key: min(width, _widest(rows, key)) for key, width in widths.items()}
    widths["what happens"] = WIDTH - sum(widths.values()) - 2 * len(widths)
    heading = dict(zip(widths, widths, strict=True))
    lines = [_line(row, widths) for row in [heading, *rows]]
    if more := len(columns) - sum(map(len, shown)):
        lines.append(f"... and {more:,} more: see columns.csv")
    return "\n".join(lines)


def _without_number(column: dict[str, Any]) -> tuple[Any, ...]:
    """Return what the table shows of a column, without the digits of its name."""
    name = re.sub(r"\d+", "", column["name"])
    return name, column["kind"], column["missing"], column["levels"], column["becomes"]


def _names(run: list[dict[str, Any]]) -> str:
    """Return the first and the last name of columns that share a row, and their number."""
    first, last = run[0]["name"], run[-1]["name"]
    if len(run) == 1:
        return str(first)
    suffix = f" ({len(run):,} columns)"
    width = (COLUMN_WIDTH - len(suffix) - len(" … ")) // 2
    return f"{_cut(first, width)} … {_cut(last, width)}{suffix}"


def _most_telling(runs: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Return the columns of at most 40 rows in their order, numbers the last to be chosen."""
    places = sorted(range(len(runs)), key=lambda place: runs[place][0]["kind"] == "number")
    return [runs[place] for place in sorted(places[:MAX_SHOWN])]


def columns_as_csv(columns: Sequence[dict[str, Any]]) -> str:
    """Return the table as CSV."""
    return pd.DataFrame(columns).astype({"levels": "Int64"}).to_csv(index=False)


def _widest(rows: list[dict[str, str]], key: str) -> int:
    return max(len(key), *(len(row[key]) for row in rows))


def _line(row: dict[str, str], widths: dict[str, int]) -> str:
    cells = []
    for key, width in widths.items():
        text = _cut(row[key], width)
        cells.append(text.rjust(width) if key in ("missing", "levels") else text.ljust(width))
    return "  ".join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"
