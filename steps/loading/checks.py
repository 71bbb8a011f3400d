"""Rules of training tables, and the typed view that follows from them."""

import difflib
from dataclasses import dataclass

from serving.model.features import ENTITY_ID
from steps.data.row_keys import ROW_KEY
from steps.data.split_files import EXTRA_FILES
from steps.loading.columns import Profile, profile_columns
from steps.loading.kinds import as_text, typed_columns
from steps.loading.rules import Rules
from steps.loading.table import Column, Table
from steps.loading.target import Target, find_target
from steps.runtime.errors import DataError, ParameterError

MAX_COLUMNS_SHOWN = 40


@dataclass(frozen=True)
class CheckedTable:
    """A table that meets the rules, as the view `checked`.

    The view has the columns `row` (the number in the source), the key of each feature as DOUBLE
    (NULL for NaN), BOOLEAN, VARCHAR or TIMESTAMP, the key of each column that is left out as it is,
    `target` as BIGINT, and `time`, `id` and `row_key` if there are such columns.

    Attributes:
        table: the table.
        target: the target.
        profiles: what becomes of the columns besides target, time and keys.
        extras: which of `time`, `id` and `row_key` the view has.
    """

    table: Table
    target: Target
    profiles: list[Profile]
    extras: list[str]

    @property
    def features(self) -> list[Profile]:
        """The columns that are features."""
        return [profile for profile in self.profiles if profile.is_feature]

    @property
    def feature_keys(self) -> list[str]:
        """The names of the features in the view."""
        return [profile.typed.column.key for profile in self.features]

    @property
    def keys(self) -> list[str]:
        """The columns that make rows equal: all but the row's number and key.

        Rows that differ in a column that is no feature, such as an identifier, are different.
        """
        extras = [name for name in self.extras if name != "row_key"]
        return [*(p.typed.column.key for p in self.profiles), "target", *extras]


def check(table: Table, rules: Rules) -> CheckedTable:
    """Recognise the columns, check the rules, and create the view `checked`.

    Args:
        table: the table as it was read.
        rules: the parameters.

    Raises:
        DataError: the table breaks a rule.
        ParameterError: a parameter contradicts another, or the table.
    """
    try:
        return _check(table, rules)
    except DataError as error:
        raise DataError(f"{table.source}: {error}") from None


def _check(table: Table, rules: Rules) -> CheckedTable:
    _check_names(table, rules)
    if not table.rows:
        raise DataError("the table is empty; provide rows")
    special = (rules.target, rules.time_column, rules.id_column, ROW_KEY)
    goal = table.column(rules.target)
    assert goal is not None, "the names were checked"
    target = find_target(table, goal, rules.positive)
    profiles = profile_columns(table, [c for c in table.columns if c.name not in special], rules)
    view = {p.typed.column.key: p.typed.value for p in profiles if p.is_feature}
    if not view:
        raise DataError(_no_features(profiles))
    view |= {p.typed.column.key: p.typed.column.key for p in profiles if not p.is_feature}
    view["target"] = target.value
    view |= _extras(table, rules)
    columns = ", ".join(f"{expression} AS {name}" for name, expression in view.items())
    table.session.connection.execute(
        f"CREATE OR REPLACE VIEW checked AS SELECT rowid AS row, {columns} FROM loaded"
    )
    return CheckedTable(table, target, profiles, [name for name in EXTRA_FILES if name in view])


def _extras(table: Table, rules: Rules) -> dict[str, str]:
    """Return the expressions of time, id and row key, as far as the table has them."""
    found = {}
    if time := table.column(rules.time_column):
        found["time"] = _time(table, time, rules)
    if id_ := table.column(rules.id_column):
        found["id"] = as_text(id_)
    if row_key := table.column(ROW_KEY):
        found["row_key"] = _row_key(table, row_key)
    return found


def _row_key(table: Table, column: Column) -> str:
    """Return the expression for the keys of rows; check that a retraining wrote them."""
    (missing,) = table.row(f"SELECT count(*) - count({column.key}) FROM loaded")
    if column.type != "UBIGINT" or missing:
        raise DataError(f"column {column.name}: the name is reserved; rename the column")
    return column.key


def _check_names(table: Table, rules: Rules) -> None:
    if "" in (column.name.strip() for column in table.columns):
        raise DataError("a column has no name; add one")
    if found := [column.name for column in table.columns if "\0" in column.name]:
        raise DataError(f"column {found[0]!r}: the name contains a NUL character; rename it")
    if rules.target not in table.names:
        listed = ", ".join(table.names[:MAX_COLUMNS_SHOWN])
        raise DataError(
            f"target {rules.target!r} not found; pass -P target=NAME (columns: {listed})"
        )
    if rules.target == rules.time_column:
        raise DataError(
            f"column {rules.target}: is both target and time_column; pass another "
            "-P time_column=NAME, or an empty one"
        )
    if rules.id_column not in ("", ENTITY_ID):
        _check_known(table, "id_column", rules.id_column)
    uses = {
        "target": [rules.target], "time_column": [rules.time_column],
        "id_column": [rules.id_column], "drop": rules.drop, "categorical": rules.categorical,
        "numeric": rules.numeric,
    }  # fmt: skip
    for parameter in ("drop", "categorical", "numeric"):
        for name in uses[parameter]:
            _check_known(table, parameter, name)
    used: dict[str, str] = {}
    for parameter, names in uses.items():
        for name in names:
            if name in used and name in table.names:
                raise ParameterError(
                    f"{parameter}: column {name} is also {used[name]}; name it in one of them"
                )
            used[name] = parameter


def _check_known(table: Table, parameter: str, name: str) -> None:
    if name in table.names:
        return
    near = difflib.get_close_matches(name, table.names, cutoff=0.5)
    folded = [known for known in table.names if known.casefold() == name.casefold()]
    similar = ", ".join(dict.fromkeys([*folded, *near])) or ", ".join(
        table.names[:MAX_COLUMNS_SHOWN]
    )
    raise ParameterError(
        f"{parameter}: {table.source} has no column {name!r}; did you mean one of: {similar}"
    )


def _no_features(profiles: list[Profile]) -> str:
    left_out = "; ".join(f"{p.typed.column.name}: {p.kind}" for p in profiles[:10])
    reasons = f" ({left_out})" if left_out else ""
    return f"no feature columns besides target and time{reasons}; add at least one"


def _time(table: Table, column: Column, rules: Rules) -> str:
    """Return the expression for the time; check that no row lacks it."""
    (typed,) = typed_columns(table, [column], Rules(rules.target))
    is_converted = typed.is_text or column.type.startswith(("DATE", "DECIMAL"))
    value = typed.value if is_converted else column.key
    known = typed.value if typed.kind else column.key
    missing, first = table.row(f"SELECT count(*), min(rowid) + 1 FROM loaded WHERE {known} IS NULL")
    if missing:
        raise DataError(
            f"column {column.name}: missing values in the time (row {first:,}); remove those rows"
        )
    if typed.kind not in ("date", "number"):
        raise DataError(
            f"column {column.name}: the time must be numeric or a timestamp; convert it, or pass "
            "another -P time_column=NAME"
        )
    return value
