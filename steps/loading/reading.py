"""Sources of training tables as tables in DuckDB."""

import pyarrow as pa

from steps.data import creditcard
from steps.loading.csv_reader import read_csv
from steps.loading.databases import export_to_parquet, is_database
from steps.loading.files import PARQUET, SourceFile, local_files
from steps.loading.parquet_reader import read_parquet
from steps.loading.session import Session, session
from steps.loading.sources import ENCODING_SUFFIX, SAMPLE
from steps.loading.table import Table
from steps.runtime.errors import DataError, ParameterError


def load_source(opened: Session, data: str, query: str = "") -> Table:
    """Read the table that the parameters `data` and `query` name.

    Args:
        opened: the session that holds the table.
        data: "creditcard" (the full data set, downloaded once), "sample" (the sample in this
            project), a path, folder, glob or URI of CSV or Parquet files, runs:/RUN_ID/PATH, or
            the URL of a database.
        query: a file with a SQL query for the database.

    Raises:
        SourceError: the table cannot be downloaded or read.
        DataError: the files have different columns, or a name is missing or duplicated.
        ParameterError: the parameters contradict each other.
    """
    if is_database(data):
        return read_parquet(opened, _shown(data), export_to_parquet(data, query, opened.folder))
    if query:
        raise ParameterError("query: valid only if data is a database URL; remove it")
    if data in ("creditcard", "sample"):
        file = creditcard.cached_creditcard() if data == "creditcard" else SAMPLE
        return _read_files(opened, data, [SourceFile(data, file)], "")
    encoding = ENCODING_SUFFIX.search(data)
    uri = ENCODING_SUFFIX.sub("", data)
    files = local_files(uri, opened.folder)
    return _read_files(opened, uri, files, encoding[1] if encoding else "")


def read_source(data: str, query: str = "") -> pa.Table:
    """Return the table that the parameters `data` and `query` name, in memory.

    Raises:
        PipelineError: as `load_source`.
    """
    with session() as opened:
        table = load_source(opened, data, query)
        columns = ", ".join(column.key for column in table.columns)
        found = table.sql(f"SELECT {columns} FROM loaded").to_arrow_table()
        return found.rename_columns(table.names)


def _read_files(opened: Session, source: str, files: list[SourceFile], encoding: str) -> Table:
    are_parquet = [file.head.startswith(PARQUET) for file in files]
    if not any(are_parquet):
        return read_csv(opened, source, files, encoding)
    if not all(are_parquet):
        other = files[are_parquet.index(False)]
        raise DataError(
            f"{other.name}: is not Parquet although other files are; "
            "pass the two formats separately"
        )
    return read_parquet(opened, source, files)


def _shown(url: str) -> str:
    """Return the URL of a database without its user and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
