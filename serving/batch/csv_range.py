"""Ranges of CSV files on a file system, which workers read without Spark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from serving.batch.malformed_lines import wrong_length
from serving.batch.parts import ROWS_AT_ONCE
from serving.errors import InputError, one_line
from serving.model.values import must_be, parse_text


@dataclass(frozen=True)
class CsvRange:
    """The lines of a CSV file that begin in a range of its bytes, without the header.

    Attributes:
        file: the file, in UTF-8, without line ends within values.
        start: the position of the first byte.
        size: the number of bytes.
        columns: the names in the header.
        numbers: the columns that are read as float64; the others are texts.
    """

    file: str
    start: int
    size: int
    columns: tuple[str, ...]
    numbers: tuple[str, ...]

    @property
    def first_row(self) -> int:
        """The number of the first row among those of `origin`."""
        return 0

    @property
    def origin(self) -> str:
        """The rows in words."""
        return f"the lines of {self.file} after byte {self.start:,}" if self.start else self.file

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches.

        Raises:
            InputError: a line has more or fewer values than the header, a value has a line end or
                is not a number, or the file is not in UTF-8.
        """
        if lines := self._lines():
            yield from self._parse(lines).to_batches(ROWS_AT_ONCE)

    def _lines(self) -> bytes:
        with open(self.file, "rb") as file:
            if self.start:
                file.seek(self.start - 1)
            file.readline()  # the header, or the rest of a line of the range before
            length = self.start + self.size - file.tell()
            if length <= 0:
                return b""
            lines = file.read(length)
            return lines if lines.endswith(b"\n") else lines + file.readline()

    def _parse(self, lines: bytes) -> pa.Table:
        try:
            return self._table(lines, self.numbers)
        except pa.ArrowInvalid:
            pass  # a missing value such as NA, a number with blanks around it, or no number
        try:
            table = self._table(lines, ())
        except pa.ArrowInvalid as error:
            raise InputError(f"must be CSV in UTF-8: {one_line(error)}") from error
        for name in self.numbers:
            values = _numbers(name, table[name].combine_chunks())
            table = table.set_column(self.columns.index(name), name, values)
        return table

    def _table(self, lines: bytes, numbers: Sequence[str]) -> pa.Table:
        """Return the rows in `lines`, with `numbers` as float64 and empty values as null."""
        malformed: list[pyarrow.csv.InvalidRow] = []

        def note(row: pyarrow.csv.InvalidRow) -> str:
            malformed.append(row)
            return "skip"

        table = pyarrow.csv.read_csv(
            BytesIO(lines),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(lines) + 1, column_names=self.columns
            ),
            pyarrow.csv.ParseOptions(invalid_row_handler=note),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.string())
                | dict.fromkeys(numbers, pa.float64()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for row in malformed:
            raise InputError(wrong_length(row.text, row.number - 1, row.expected_columns))
        if len(table) != sum(map(bool, lines.splitlines())):
            row = _row_with_line_end(table)
            raise InputError(f"row {row}: a value has a line end, or a quote is not closed")
        return table


def _row_with_line_end(table: pa.Table) -> int:
    """Return the first row with a line end within a value, as after a quote that is not closed."""
    columns = (column for column in table.columns if pa.types.is_string(column.type))
    found = (pa.compute.match_substring_regex(column, "[\r\n]") for column in columns)
    return min(row for column in found if (row := column.index(True).as_py()) >= 0)


def _numbers(name: str, texts: pa.StringArray) -> pa.DoubleArray:
    """Return the numbers in texts, null where one stands for a missing value.

    Raises:
        InputError: a text is neither.
    """
    encoded = texts.dictionary_encode()
    values = [parse_text(text) for text in encoded.dictionary.to_pylist()]
    for place, value in enumerate(values):
        if isinstance(value, str):
            row = encoded.indices.index(place).as_py()
            raise InputError(f"column {name}, row {row}: {must_be('a number', value)}")
    numbers = [None if value is None else float(value) for value in values]
    return pa.array(numbers, pa.float64()).take(encoded.indices)
