"""Bodies that are mostly valid, at random, for /invocations and /feedback."""

import csv
import io
import json
from collections import Counter
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import COLUMNS

CASES = 2_500  # for each of two routes and two seeds
ANSWERS = {200, 400, 409, 413, 415, 422}  # 409: a request id used before
FUZZED = settings(
    max_examples=CASES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

texts = st.text(max_size=20)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    st.integers(),
    st.floats(),
    st.sampled_from(["\0", "\ud800", "x" * 256, "NA", "1.5", 2**64, 1e400, -(2**63) - 1]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(texts, st.integers(), max_size=2),
)


def mostly(valid, other=odd_values):
    """Return a strategy for `valid` values, and rarely for `other` ones."""
    return st.integers(0, 99).flatmap(lambda percent: other if percent == 99 else valid)


numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53))
ids = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=255),
)
names = st.permutations(["V1", "gap", "id", "Class"])


@st.composite
def tables(draw):
    """Return column names and rows."""
    columns = draw(mostly(names, st.lists(st.one_of(names.map(lambda n: n[0]), texts))))
    values = {"V1": mostly(numbers), "gap": mostly(st.none() | numbers), "id": mostly(ids)}
    row = st.tuples(*(values.get(name, odd_values) for name in columns)).map(list)
    rows = draw(st.lists(mostly(row, st.lists(odd_values, max_size=5)), min_size=1, max_size=4))
    return columns, rows


@st.composite
def invocations(draw):
    """Return a content type and a body."""
    columns, rows = draw(tables())
    if draw(st.integers(0, 3)) == 0:
        table = io.StringIO()
        csv.writer(table).writerows([columns, *rows])
        return "text/csv", damaged(draw, table.getvalue())
    records = [dict(zip(columns, row, strict=False)) for row in rows]
    form = draw(
        st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "lists"])
    )
    if form == "dataframe_split":
        content = {form: {"columns": columns, "data": rows, "index": list(range(len(rows)))}}
    elif form == "lists":
        content = {"inputs": {name: [r.get(name) for r in records] for name in columns}}
    else:
        content = {form: records}
    params = draw(mostly(st.none() | st.fixed_dictionaries({"request_id": texts})))
    return "application/json", damaged(draw, json.dumps(content | {"params": params}))


def moments():
    """Return a strategy for times, most of them in the past."""
    ends = st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1700000000", "2026-01-01"]
    )
    return st.none() | mostly(
        st.datetimes().map(lambda moment: moment.isoformat() + "Z"), ends | odd_values
    )


@st.composite
def feedback(draw):
    """Return a content type and a body."""
    by = draw(st.sampled_from(["id", "prediction_id"]))
    given_ids = ids.filter(lambda value: value not in (None, ""))
    label = st.fixed_dictionaries(
        {
            by: mostly(given_ids if by == "id" else given_ids.map(lambda value: str(value)[:255])),
            "label": mostly(st.integers(0, 1)),
        },
        optional={"observed_at": moments()},
    )
    labels = draw(mostly(st.lists(mostly(label), min_size=1, max_size=4)))
    return "application/json", damaged(draw, json.dumps({"labels": labels}))


def damaged(draw, body):
    """Return a body in UTF-8, rarely with other bytes somewhere."""
    content = body.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 49)):
        return content
    position = draw(st.integers(0, len(content)))
    inserted = draw(st.sampled_from([b"\0", b"\xff", b'"', b"{", b",", b"[" * 5_000, b"\n", b":"]))
    return content[:position] + inserted + content[position:]


@contextmanager
def counted_answers(tiny_model):
    """Yield a function that posts, whose answers must be documented and mostly accepted."""
    counts = Counter()

    with service_in_process(tiny_model) as client:
        client.post("/predict", json=COLUMNS)

        def post(path, content_type, body):
            answer = client.post(path, content=body, headers={"Content-Type": content_type})
            assert answer.status_code in ANSWERS, (answer.text, body)
            counts[answer.status_code] += 1

        yield post
    assert counts[200] > counts.total() / 4, counts


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("path", "requests"), [("/invocations", invocations()), ("/feedback", feedback())]
)
def test_mostly_valid_bodies_have_documented_answers(tiny_model, database, number, path, requests):
    with counted_answers(tiny_model) as post:

        @seed(number)
        @FUZZED
        @given(requests)
        def case(request):
            post(path, *request)

        case()
