"""Tables and queries of PostgreSQL and SQLite as sources."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy as sa

from steps.loading.reading import read_source
from steps.runtime.errors import PipelineError
from tests.support.tables import load

ROWS = 45_000


def fill(uri: str) -> None:
    """Create a schema `sales` or none, and a table of 45,000 orders."""
    engine = sa.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("booked", sa.DateTime(timezone=True)),
        sa.Column("day", sa.Date),
        sa.Column("amount", sa.Numeric(12, 2)),
        sa.Column("weight", sa.Float),
        sa.Column("pieces", sa.SmallInteger),
        sa.Column("gift", sa.Boolean),
        sa.Column("Class", sa.Integer),
    )
    random = np.random.default_rng(0)
    with engine.begin() as connection:
        orders.create(connection)
        connection.execute(
            orders.insert(),
            [
                {
                    "id": i,
                    "booked": datetime.fromtimestamp(1.7e9 + ROWS - i, UTC),
                    "day": datetime.fromtimestamp(1.7e9, UTC).date(),
                    "amount": Decimal(i) / 100,
                    "weight": None if i % 7 == 0 else i / 8,
                    "pieces": i % 5,
                    "gift": bool(i % 2),
                    "Class": int(random.random() < 0.2),
                }
                for i in range(ROWS)
            ],
        )
    engine.dispose()


@pytest.fixture
def database(uri, monkeypatch):
    """The URL of a filled database, without its password, which is in the environment."""
    fill(uri)
    url = sa.make_url(uri)
    if url.password:
        monkeypatch.setenv("PGPASSWORD", str(url.password))
    return uri


@pytest.fixture
def query_file(tmp_path):
    def query_file(text: str) -> str:
        (tmp_path / "query.sql").write_text(text)
        return str(tmp_path / "query.sql")

    return query_file


def with_table(database: str) -> str:
    return f"{database}{'&' if '?' in database else '?'}table=orders"


def test_table_is_read_with_its_types(database):
    table = read_source(with_table(database)).sort_by("id")
    assert len(table) == ROWS
    last = table.slice(ROWS - 1).to_pylist()[0]
    assert (last["amount"], last["pieces"], last["gift"]) == (449.99, 4, True)
    assert table["weight"].null_count == len(range(0, ROWS, 7))
    assert str(table.schema.field("day").type).startswith(("date", "timestamp"))
    booked = last["booked"]
    assert booked.replace(tzinfo=UTC) == datetime.fromtimestamp(1.7e9 + 1, UTC)


def test_query_is_read(database, query_file):
    query = query_file('SELECT amount, pieces, "Class" FROM orders WHERE id < 30000;\n')
    assert len(read_source(database, query)) == 30_000


def test_rows_of_a_database_are_split_by_time(database, query_file, tmp_path):
    columns = 'booked AS "Time", amount, weight, gift, "Class"'
    splits = load(database, tmp_path, query=query_file(f"SELECT {columns} FROM orders"))
    assert splits.names == ["amount", "weight", "gift"]
    assert splits.description.split == "temporal"
    assert (np.diff(splits.training.frame["amount"]) < 0).all()


def test_refusals_are_one_line(database, query_file, tmp_path):
    cases = {
        f"{database}{'&' if '?' in database else '?'}table=absent": ("", "absent"),
        database: ("", "needs either ?table=NAME"),
        f"{database}#": (query_file("SELECT nothing FROM orders"), "nothing"),
        f"{database}##": (str(tmp_path / "absent.sql"), "cannot be read"),
    }
    for data, (query, cause) in cases.items():
        with pytest.raises(PipelineError) as caught:
            read_source(data.rstrip("#"), query)
        assert cause in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.quick
@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@there/db?table=t", "postgresql://there/db?password=secret"]
)
def test_password_in_url_is_refused(url):
    with pytest.raises(PipelineError, match="contains a password, and MLflow records") as caught:
        read_source(url)
    assert "secret" not in str(caught.value)


def test_numeric_beyond_doubles_is_refused(postgres_uri, query_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", str(sa.make_url(postgres_uri).password or ""))
    query = query_file(
        "SELECT 9007199254740989 + 2 * (i % 200)::numeric AS big, 0.1::numeric AS tenth, "
        '(i % 4 > 1)::int AS "Class" FROM generate_series(1, 400) AS s(i)'
    )
    url = postgres_uri
    with pytest.raises(PipelineError, match=r"column big: row 2: 9007199254740993 is beyond 2\^53"):
        load(url, tmp_path, query=query)
