"""Bodies of MLflow's scoring protocol, as columns of values like those of `/predict`."""

from collections.abc import Sequence
from typing import Any

from serving.errors import Violation
from serving.web.csv_body import check_unique
from serving.web.problems import InvalidRequestError, invalid

SPLIT, RECORDS, INSTANCES, INPUTS = FORMS = (
    "dataframe_split",
    "dataframe_records",
    "instances",
    "inputs",
)
SPLIT_MEMBERS = {"columns", "index", "data"}


def parse_forms(
    content: Any, features: Sequence[str], id_column: str
) -> tuple[dict[str, Any], str | None]:
    """Return the columns of a JSON body, and its request id.

    Raises:
        InvalidRequestError: the content is none of MLflow's forms.
    """
    if not isinstance(content, dict):
        raise invalid("body", "must be a JSON object")
    given = [form for form in FORMS if form in content]
    if len(given) != 1:
        raise invalid("body", f"must have exactly one of {', '.join(FORMS)}")
    (form,) = given
    rows = content[form]
    if form == SPLIT:
        columns = _split(rows)
    elif form == INPUTS and isinstance(rows, dict):
        columns = rows
    else:
        columns = _records(form, rows, features, id_column)
    return columns, _request_id(content.get("params"))


def _request_id(params: Any) -> str | None:
    if params is None:
        return None
    if not isinstance(params, dict):
        raise invalid("params", "must be a JSON object")
    request_id = params.get("request_id")
    if request_id is not None and not isinstance(request_id, str):
        raise invalid("params.request_id", "must be a string")
    return request_id or None


def _split(split: Any) -> dict[str, list[Any]]:
    if not isinstance(split, dict) or not split.keys() <= SPLIT_MEMBERS:
        raise invalid(SPLIT, "must be an object of columns, data and optionally index")
    names, rows = split.get("columns"), split.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid(f"{SPLIT}.columns", "must be a list of column names")
    check_unique(names)
    if not isinstance(rows, list):
        raise invalid(f"{SPLIT}.data", "must be a list of rows")
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise invalid(f"{SPLIT}.data", "must be a list of values", number)
        if len(row) != len(names):
            rule = f"has {len(row)} values, but there are {len(names)} columns"
            raise invalid(f"{SPLIT}.data", rule, number)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return dict(zip(names, map(list, columns), strict=True))


def _records(form: str, rows: Any, features: Sequence[str], id_column: str) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise invalid(form, "must be a non-empty list of objects keyed by column name")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise invalid(form, "must be an object keyed by column name", number)
    given = [name for name in features if any(name in row for row in rows)]
    violations = [
        Violation(name, "is missing", number)
        for name in given
        for number, row in enumerate(rows)
        if name not in row
    ]
    if violations:
        raise InvalidRequestError(violations)
    columns = {name: [row[name] for row in rows] for name in given}
    return columns | {id_column: [row.get(id_column) for row in rows]}
