"""Single columns of Parquet files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet


class ParquetColumns:
    """The columns of a Parquet file by their names; its metadata are read once."""

    def __init__(self, file: Path) -> None:
        self._file = pa.parquet.ParquetFile(file)
        # By position: a dot in a name would mean a nested field.
        self._places = {name: place for place, name in enumerate(self._file.schema_arrow.names)}

    @property
    def names(self) -> list[str]:
        """The names of the columns, in the order of the file."""
        return list(self._places)

    def __getitem__(self, name: str) -> pa.Array:
        """Return the values of one column."""
        return self._file.reader.read_column(self._places[name]).combine_chunks()
