"""Parquet files as tables in DuckDB."""

import duckdb
import pyarrow as pa
import pyarrow.parquet

from serving.errors import one_line
from steps.loading.csv_format import check_names
from steps.loading.files import SourceFile
from steps.loading.session import Session
from steps.loading.table import Table, quoted
from steps.runtime.errors import DataError, SourceError

# An index that pandas stored is a column only if it has a name.
INDEX_PREFIX = "__index_level_"


def read_parquet(session: Session, source: str, files: list[SourceFile]) -> Table:
    """Read Parquet files with the same columns into a table.

    Raises:
        SourceError: a file is cut short or corrupt.
        DataError: the files have different columns, or a name is missing or duplicated.
    """
    names = _names(files[0])
    for file in files[1:]:
        if sorted(other := _names(file)) != sorted(names):
            raise DataError(
                f"{file.name}: the columns differ from those of {files[0].name}: "
                f"{', '.join(other)}; make them equal"
            )
    paths = ", ".join(quoted(str(file.path)) for file in files)
    union = ", union_by_name=true" if len(files) > 1 else ""
    keys = ", ".join(f"c{place}" for place in range(len(names)))
    query = f"SELECT * FROM read_parquet([{paths}]{union}, hive_partitioning=false) t({keys})"
    try:
        table = Table.create(session, source, names, query)
    except (
        duckdb.InvalidInputException,
        duckdb.ConversionException,
        duckdb.NotImplementedException,
    ) as error:
        raise SourceError(f"{source}: cannot be read as Parquet: {one_line(error)}") from None
    return table.without([c.key for c in table.columns if c.name.startswith(INDEX_PREFIX)])


def _names(file: SourceFile) -> list[str]:
    try:
        names: list[str] = pa.parquet.read_schema(file.path).names
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{file.name}: the Parquet file is corrupt: {one_line(error)}") from error
    try:
        check_names(names)
    except DataError as error:
        raise DataError(f"{file.name}: {error}") from None
    return names
