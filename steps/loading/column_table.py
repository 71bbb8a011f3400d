"""The table of all columns of a source: kind, missing values, levels, and use."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from serving.model.features import Feature
from steps.data.row_keys import ROW_KEY
from steps.loading.checks import CheckedTable
from steps.loading.rules import Rules

WIDTH, MOST_SHOWN = 100, 40
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
    """Return the table as aligned text: at most 40 rows, at most 100 characters wide."""
    rows = [
        {
            "column": column["name"],
            "kind": column["kind"],
            "missing": f"{column['missing']:.1%}" if column["missing"] else "",
            "levels": "" if column["levels"] is None else f"{column['levels']:,}",
            "what happens": column["becomes"],
        }
        for column in _most_telling(columns)
    ]
    widths = {"column": 28, "kind": 11, "missing": 7, "levels": 7}
    widths |= {key: min(width, _widest(rows, key)) for key, width in widths.items()}
    widths["what happens"] = WIDTH - sum(widths.values()) - 2 * len(widths)
    heading = dict(zip(widths, widths, strict=True))
    lines = [_line(row, widths) for row in [heading, *rows]]
    if len(columns) > MOST_SHOWN:
        lines.append(f"... and {len(columns) - MOST_SHOWN:,} more: see columns.csv")
    return "\n".join(lines)


def _most_telling(columns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most 40 columns in their order, numbers the last to be chosen."""
    places = sorted(range(len(columns)), key=lambda place: columns[place]["kind"] == "number")
    return [columns[place] for place in sorted(places[:MOST_SHOWN])]


def columns_as_csv(columns: Sequence[dict[str, Any]]) -> str:
    """Return the table as CSV."""
    return pd.DataFrame(columns).astype({"levels": "Int64"}).to_csv(index=False)


def _widest(rows: list[dict[str, str]], key: str) -> int:
    return max(len(key), *(len(row[key]) for row in rows))


def _line(row: dict[str, str], widths: dict[str, int]) -> str:
    cells = []
    for key, width in widths.items():
        text = " ".join(row[key].split())
        text = text if len(text) <= width else f"{text[: width - 1]}…"
        cells.append(text.rjust(width) if key in ("missing", "levels") else text.ljust(width))
    return "  ".join(cells).rstrip()
