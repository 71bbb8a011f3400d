"""Memory of DuckDB sessions."""

import duckdb
import pytest

from steps.loading import session as sessions
from steps.loading.session import memory_limit, session
from steps.runtime.errors import ParameterError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("machine", "limit"), [(4 * 2**30, 2**29), (12 * 2**30, 0.75 * 2**30), (2**40, 2**30)]
)
def test_memory_follows_from_machine(monkeypatch, machine, limit):
    monkeypatch.delenv("MLPIPES_MEMORY", raising=False)
    monkeypatch.setattr(sessions, "machine_memory", lambda: machine)
    assert memory_limit() == limit


def test_memory_can_be_set(monkeypatch):
    for text, limit in (("2GB", 2e9), ("512 MiB", 2**29), ("1000000", 1e6)):
        monkeypatch.setenv("MLPIPES_MEMORY", text)
        assert memory_limit() == limit
    for text in ("much", "0", "-1GB"):
        monkeypatch.setenv("MLPIPES_MEMORY", text)
        with pytest.raises(ParameterError, match="MLPIPES_MEMORY: "):
            memory_limit()


def test_too_little_memory_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ParameterError, match="are too little for this table"), session():
        raise duckdb.OutOfMemoryException("could not allocate block")
    assert not list(tmp_path.iterdir())
